"""Paths judged as classifiers, for a path filter to learn first: against a direct computation, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from shapes_data import ShapesData, make_shapes
from slim_pools import slim_ofa
from torch import nn

from optimizer.arch.bodies.ofa_resnet import OfaShape
from optimizer.arch.families import OFA_SHAPES
from optimizer.arch.ofa_space import OfaSpace
from optimizer.data.class_folder import ClassFolder
from optimizer.data.pictures import PictureView, WholeView
from optimizer.errors import InputError, RunFailed
from optimizer.path_filter.space import find_ends
from optimizer.supernet.classified import ClassificationJudge, check_judged
from optimizer.supernet.filter_config import Filtering
from optimizer.supernet.manifest import classifier_path, key_pool
from optimizer.supernet.ofa_config import OfaConfig, OfaRecipe
from optimizer.supernet.pretrain_config import Pretraining
from optimizer.supernet.pretraining import PretrainJob, open_pictures, pretrain_body
from optimizer.train.config import TrainConfig

CPU = torch.device("cpu")
TRAIN = TrainConfig(epochs=1, lr=1e-3, optimizer="adamw", precision="fp32")
RECIPE = OfaRecipe(
    train=TRAIN.model_copy(update={"epochs": 2}), shrinking="filter", batch_size=2, calibration_images=64,
    filtering=Filtering(classification_paths=40), pretraining=Pretraining(train=TRAIN, batch_size=8, size=(32, 32)),
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OFA_SHAPES, "small", OfaShape((1, 1, 1, 1), (1, 1, 1, 1), (32, 32, 48, 64), 16, 8))
        patch.setattr(OfaSpace, "arch", slim_ofa)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ShapesData:
    return make_shapes(tmp_path_factory.mktemp("data") / "shapes", train=24, val=4)


@pytest.fixture(scope="module")
def pool(data: ShapesData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    pretrain_body(PretrainJob(config=make(), folder=folder, data=data.folder), data.train, CPU, None)
    return folder


def make(**changes: object) -> OfaConfig:
    return RECIPE.model_copy(update=changes).make("small", ((64, 64),), 20, "faster_rcnn")


def filtered(paths: int) -> Filtering:
    return Filtering(classification_paths=paths)


@torch.no_grad()
def test_a_path_is_judged_as_a_direct_computation_says(data: ShapesData, pool: Path) -> None:
    """The extracted body in training mode gives each batch's statistics; their plain average judges."""
    config, judge = make(), ClassificationJudge(make(), pool, data.train, data.val, CPU)
    space = config.space()
    pictures = open_pictures(RECIPE.pretraining, data.val, "judged")  # type: ignore[arg-type]
    shown = [pictures.read(index, 0, 0) for index in range(len(pictures))]
    images, classes = torch.stack([image for image, _ in shown]), torch.cat([truth.labels for _, truth in shown])
    supernet, classifier = judge._networks
    before = {name: tensor.clone() for name, tensor in supernet.shared.state_dict().items()}
    for genes in find_ends(space):
        body = supernet.extract(space.subnet(genes.tolist(), (64, 64))).get_submodule("backbone.body")
        sums: dict[str, list[torch.Tensor]] = {}
        for name, norm in body.named_modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.train()
                norm.momentum = 1.0  # the last batch's statistics alone
                sums[name] = []
        for batch, _ in judge._calibration:
            body(batch)
            for name, found in sums.items():
                norm = body.get_submodule(name)
                found.append(torch.stack([norm.running_mean, norm.running_var]))
        for name, found in sums.items():
            norm = body.get_submodule(name).eval()
            norm.running_mean, norm.running_var = torch.stack(found).mean(0)
        pooled = body.eval()(images)["3"].mean((2, 3))
        logits = pooled @ classifier.classifier.weight[:, : pooled.shape[1]].T + classifier.classifier.bias
        wanted = float((logits.argmax(1) != classes).double().mean())
        assert judge.measure(genes) == judge.measure(genes) == pytest.approx(wanted, abs=1.5 / len(classes))
    assert len(judge._calibration) == 64 // 32
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.shared.state_dict().items())


def test_what_was_behind_the_body_is_kept_where_paths_are_judged(data: ShapesData, pool: Path, tmp_path: Path) -> None:
    assert classifier_path(pool).exists()
    other = make(filtering=filtered(0))
    assert (make().classification_paths, other.classification_paths) == (40, 0)
    assert make(pretraining=None).classification_paths == make(shrinking="none").classification_paths == 0
    pretrain_body(PretrainJob(config=other, folder=tmp_path, data=data.folder), data.train, CPU, None)
    assert [path.name for path in tmp_path.iterdir()] == ["pretrained.safetensors"]
    keys = [key_pool(config, data.train) for config in (make(), other, make(filtering=filtered(80)))]
    assert len(set(keys)) == 3
    for plain in ({"pretraining": None}, {"shrinking": "none"}):
        one, two = (key_pool(make(filtering=filtered(paths), **plain), data.train) for paths in (0, 40))
        assert one == two, "what is not judged makes no other network"
    assert "classification_paths" not in other.to_identity()["filtering"]


def test_a_damaged_classifier_is_one_line(data: ShapesData, pool: Path, tmp_path: Path) -> None:
    (tmp_path / "pretrained.safetensors").write_bytes((pool / "pretrained.safetensors").read_bytes())
    judge = ClassificationJudge(make(), tmp_path, data.train, data.val, CPU)
    for content in (None, b"garbage"):
        if content is not None:
            classifier_path(tmp_path).write_bytes(content)
        with pytest.raises(RunFailed, match=r"classifier\.safetensors is damaged") as caught:
            judge.measure(find_ends(make().space())[0])
        assert "\n" not in str(caught.value)


def test_a_folder_of_classes_keeps_a_twentieth_out_to_judge_by(tmp_path: Path) -> None:
    for name, count in (("ant", 45), ("bee", 3), ("fly", 1)):
        (tmp_path / name).mkdir()
        for index in range(count):
            Image.fromarray(np.full((8, 10, 3), index, np.uint8)).save(tmp_path / name / f"{index:02}.png")
    parts = [ClassFolder(tmp_path, WholeView((16, 16)), part) for part in ("all", "fit", "judged")]  # type: ignore[arg-type]
    whole, fit, judged = ([part.name(index) for index in range(len(part))] for part in parts)
    assert len(whole) == 49 and sorted([*fit, *judged]) == whole
    assert [Path(name).parent.name for name in judged] == ["ant", "ant", "bee"]
    with pytest.raises(InputError, match="a single image, so none can be kept out"):
        for name, count in (("ant", 45), ("bee", 3)):
            for index in range(1, count):
                (tmp_path / name / f"{index:02}.png").unlink()
        ClassFolder(tmp_path, WholeView((16, 16)), "judged")


def test_a_whole_view_is_the_same_whatever_the_seed_and_keeps_the_edges() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, :3] = 255
    images = [WholeView((12, 8)).show(pixels, 2, seed)[0] for seed in (0, 1)]
    assert images[0].shape == (3, 8, 12) and torch.equal(*images)
    assert images[0][0, :, 0].min() > 2 and images[0][0, :, -1].max() < -2
    assert PictureView((12, 8)).show(pixels, 2, 0)[1].labels.tolist() == [2]


def test_nothing_to_judge_by_is_refused(data: ShapesData, tmp_path: Path) -> None:
    check_judged(make(), data.val)
    bare = replace(data.val, records=tuple(replace_boxes(record) for record in data.val.records))
    with pytest.raises(InputError, match=r"no two classes to judge .*--classification-paths 0"):
        check_judged(make(), bare)
    check_judged(make(filtering=filtered(0)), bare)
    check_judged(make(), None)  # images that are yet to be generated
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name / "0.png")
    singles = RECIPE.pretraining.model_copy(update={"images": tmp_path})  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"no two classes to judge .*--pretrain FOLDER"):
        check_judged(make(pretraining=singles), None)
    for count in (39, 5, 42, -5):
        with pytest.raises(ValueError, match=r"multiple of 5|greater than or equal"):
            filtered(count)


def replace_boxes(record: object) -> object:
    """An image without objects, of which there is background alone."""
    return replace(  # type: ignore[type-var]
        record, boxes_xyxy=np.zeros((0, 4), np.float32), labels=np.zeros(0, np.int64), crowd=np.zeros(0, bool),
    )  # fmt: skip
