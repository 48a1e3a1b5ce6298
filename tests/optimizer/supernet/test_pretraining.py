"""Pre-training of a path super-network: only the path drawn learns, the body is kept, a death costs little."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from shapes_data import ShapesData, make_shapes
from slim_pools import slim_path
from watched import Watched

from optimizer.arch.families import PATH_SPACES, PathSpace
from optimizer.arch.paths import PathSubnets
from optimizer.detectors import Truth
from optimizer.errors import InputError, RunFailed
from optimizer.supernet.config import Phase
from optimizer.supernet.manifest import key_pool, pretrained_path
from optimizer.supernet.path_config import PathConfig, PathRecipe
from optimizer.supernet.pool import TeacherPool, open_pool
from optimizer.supernet.pretrain_config import Pretraining
from optimizer.supernet.pretraining import (
    BodyClassifier,
    ClassifyStep,
    PretrainJob,
    check_pictures,
    count_pictures,
    pretrain_body,
)
from optimizer.supernet.training import PoolImages, train_pool
from optimizer.train.config import TrainConfig

CPU = torch.device("cpu")
TRAIN = TrainConfig(epochs=1, lr=1e-3, precision="fp32", checkpoint_every_s=0.0)
PRETRAINING = Pretraining(train=TRAIN, batch_size=8, size=(32, 32))
CONFIG = PathConfig(
    family="tiny", choices=(0, 3), phases=(Phase(train=TRAIN),), sizes=((64, 64),), region_proposals=20, batch_size=2,
    calibration_images=4, pretraining=PRETRAINING,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def tiny_space() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PATH_SPACES, "tiny", PathSpace((1, 2, 1, 1), (16, 24, 32, 40), 8, 64))
        patch.setattr(PathSubnets, "arch", slim_path)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ShapesData:
    return make_shapes(tmp_path_factory.mktemp("data") / "shapes", train=4, val=1)


def train_in(folder: Path, data: ShapesData, progress: Watched | None = None) -> tuple[TeacherPool, Watched]:
    progress = progress or Watched()
    return train_pool(folder, CONFIG, PoolImages(data.folder, data.train, data.val), CPU, progress), progress


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: ShapesData) -> tuple[TeacherPool, Watched]:
    return train_in(tmp_path_factory.mktemp("pools") / "pool", data)


def same_file(one: Path, other: Path) -> bool:
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_body_is_trained_first_and_its_weights_start_the_super_network(
    trained: tuple[TeacherPool, Watched], data: ShapesData
) -> None:
    pool, progress = trained
    assert progress.titles[0].startswith("pre-training on crops of the objects: ")
    assert f"{count_pictures(PRETRAINING, data.train)} images of 5 classes" in progress.titles[0]
    assert progress.titles[1].startswith("teachers 1/1")
    first = load_file(pretrained_path(pool.folder))
    fresh = CONFIG.build(4).body.state_dict()
    assert first.keys() == fresh.keys()
    assert any(not torch.equal(first[name], fresh[name]) for name in first if name.endswith("conv1.weight"))
    assert any(line.startswith("pre-training: of the last images ") for line in progress.lines)
    assert not list(pool.folder.glob("*.ckpt"))
    assert open_pool(pool.folder, data.train).config == CONFIG


@pytest.mark.parametrize("stop", [(0, 1), (1, 1)])
def test_a_training_that_was_killed_ends_as_one_that_was_not(
    trained: tuple[TeacherPool, Watched], data: ShapesData, tmp_path: Path, stop: tuple[int, int]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path / "pool", data, Watched(stop))
    _, progress = train_in(tmp_path / "pool", data)
    assert progress.titles[0].startswith("pre-training" if stop[0] == 0 else "teachers 1/1")
    assert progress.steps[0][1] == stop[1], "it goes on after the last step that was saved"
    for name in ("pretrained.safetensors", "phase-0.safetensors"):
        assert same_file(tmp_path / "pool" / name, trained[0].folder / name)


def test_a_damaged_body_is_one_clear_line(data: ShapesData, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path, data, Watched((1, 1)))
    pretrained_path(tmp_path).write_bytes(b"garbage")
    with pytest.raises(RunFailed, match=r"pretrained\.safetensors is damaged .* delete it"):
        train_in(tmp_path, data)


def test_a_step_trains_the_path_drawn_alone_and_its_number_decides_which() -> None:
    def take(step: ClassifyStep, model: BodyClassifier) -> set[str]:
        model.zero_grad()
        images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        truths = [Truth(torch.zeros(1, 4), torch.tensor([label])) for label in (0, 1, 2, 1)]
        losses = step(model, images, truths)
        torch.stack(list(losses.values())).sum().backward()
        return {name for name, parameter in model.named_parameters() if parameter.grad is not None}

    def build() -> tuple[ClassifyStep, BodyClassifier]:
        supernet = CONFIG.build(3)
        return ClassifyStep(supernet, CONFIG.space(), 5, 0.1), BodyClassifier(supernet, 3, 5).train()

    step, model = build()
    trained = [take(step, model) for _ in range(4)]
    again = build()
    again[0].drawn.fill_(2)
    assert take(*again) == trained[2]
    assert len({frozenset(names) for names in trained}) > 1
    for names in trained:
        places = {name.split(".units.")[0]: name.split(".units.")[1][0] for name in names if ".units." in name}
        assert len(places) == CONFIG.space().places
        assert all(
            name.split(".units.")[1][0] == places[name.split(".units.")[0]] for name in names if ".units." in name
        )
        assert {"classifier.weight", "last.0.weight", "body.stem.conv.weight"} <= names


def test_label_smoothing_is_that_of_a_direct_computation() -> None:
    supernet = CONFIG.build(3)
    model = BodyClassifier(supernet, 3, 0).eval()
    images = torch.randn(2, 3, 32, 32)
    only = replace(CONFIG.space(), choices=(0,))
    loss = ClassifyStep(supernet, only, 0, 0.3)(
        model, images, [Truth(torch.zeros(1, 4), torch.tensor([n])) for n in (0, 2)]
    )
    logs = model.classify(supernet.run_body(only.largest(), images)).log_softmax(1)
    wanted = 0.7 * torch.eye(3)[[0, 2]] + 0.1
    torch.testing.assert_close(loss["class"], -(wanted * logs).sum(1).mean())


def test_the_share_of_right_answers_is_an_average_over_steps() -> None:
    supernet = CONFIG.build(3)
    model = BodyClassifier(supernet, 3, 0).eval()
    torch.nn.init.zeros_(model.classifier.weight)
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    step = ClassifyStep(supernet, CONFIG.space(), 0, 0.0)
    shares = []
    for labels in ((1, 1), (0, 1), (0, 2)):
        step(model, torch.zeros(2, 3, 32, 32), [Truth(torch.zeros(1, 4), torch.tensor([label])) for label in labels])
        shares.append(float(step.right))
    assert shares == pytest.approx([1.0, 0.75, 0.5])


def write_classes(folder: Path, names: tuple[str, ...] = ("ant", "bee")) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        for index in range(4):
            pixels = np.random.default_rng(index).integers(0, 256, (20, 30, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


def with_folder(folder: Path) -> PathConfig:
    return CONFIG.model_copy(update={"pretraining": PRETRAINING.model_copy(update={"images": folder})})


def test_it_is_trained_on_a_folder_of_classes_and_skips_what_cannot_be_read(data: ShapesData, tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "classes")
    (folder / "ant" / "3.png").write_bytes(b"no image")
    assert check_pictures(with_folder(folder).pretraining, data.train) == (  # type: ignore[arg-type]
        f"1 of 8 images tried for pre-training cannot be read and are skipped: {folder}/ant/3.png"
    )
    progress, pool = Watched(), tmp_path / "pool"
    pool.mkdir()
    job = PretrainJob(config=with_folder(folder), folder=pool, data=data.folder)
    pretrain_body(job, data.train, CPU, progress)
    assert progress.titles[0] == f"pre-training on {folder}: 8 images of 2 classes"
    assert "pre-training: 1 of 8 images cannot be read; others stood in" in progress.lines
    assert [path.name for path in pool.iterdir()] == ["pretrained.safetensors"]


def test_pools_that_were_pre_trained_otherwise_are_others(data: ShapesData, tmp_path: Path) -> None:
    def key(config: PathConfig) -> str:
        return key_pool(config, data.train)

    one, moved = (write_classes(tmp_path / name) for name in ("one", "moved"))
    other = write_classes(tmp_path / "other", ("ant", "cow"))
    longer = CONFIG.model_copy(
        update={"pretraining": PRETRAINING.model_copy(update={"train": TRAIN.model_copy(update={"epochs": 2})})}
    )
    none = CONFIG.model_copy(update={"pretraining": None})
    keys = {key(config) for config in (CONFIG, longer, none, with_folder(one), with_folder(other))}
    assert len(keys) == 5
    assert key(with_folder(one)) == key(with_folder(moved))
    oftener = TRAIN.model_copy(update={"checkpoint_every_s": 9.0})
    assert key(CONFIG) == key(
        CONFIG.model_copy(update={"pretraining": PRETRAINING.model_copy(update={"train": oftener})})
    )
    with pytest.raises(InputError, match="there is no folder"):
        key(with_folder(tmp_path / "absent"))


def test_without_pre_training_the_recipe_makes_what_it_made(data: ShapesData) -> None:
    recipe = PathRecipe(train=TRAIN)
    none = recipe.model_copy(update={"pretraining": PRETRAINING.model_copy(update={"images": "none"})})
    made = [each.make("shufflenetv2_20", ((64, 64),), 20, "faster_rcnn") for each in (recipe, none)]
    assert made[0] == made[1] and made[0].pretraining is None
    assert "pretraining" not in made[0].to_identity()


def test_a_job_survives_json(tmp_path: Path) -> None:
    for config in (CONFIG, with_folder(tmp_path)):
        job = PretrainJob(config=config, folder=Path("pool"), data=Path("data"), keep_out=True)
        assert PretrainJob.model_validate(job.model_dump(mode="json")) == job


def test_what_cannot_be_pre_trained_on_is_said_before_any_work(data: ShapesData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one class alone"):
        check_pictures(with_folder(write_classes(tmp_path / "one", ("ant",))).pretraining, data.train)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="crops of nothing alone"):
        check_pictures(PRETRAINING, data.train.first(0))
    assert check_pictures(PRETRAINING, None) == check_pictures(PRETRAINING, data.train) == ""
