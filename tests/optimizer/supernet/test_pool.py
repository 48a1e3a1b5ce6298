"""A pool on disk: trained once, found again, gone on with after a death, and refused where it does not fit."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from shapes_data import ShapesData, make_shapes
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from deploy import locks
from optimizer.detectors import Detector, build_detector
from optimizer.distill.config import DistillConfig
from optimizer.errors import InputError, RunFailed
from optimizer.progress import RunProgress
from optimizer.store.lock import take_lock
from optimizer.supernet import training
from optimizer.supernet.elastic import rank_channels
from optimizer.supernet.elastic_config import ElasticConfig, ElasticPhase
from optimizer.supernet.manifest import is_trained, key_pool, read_manifest
from optimizer.supernet.pool import TeacherPool, find_pool, list_pools, open_pool
from optimizer.supernet.step import SubnetStep
from optimizer.supernet.training import PoolImages, train_pool
from optimizer.train.config import TrainConfig

CPU = torch.device("cpu")
TRAIN = TrainConfig(epochs=1, lr=1e-3, precision="fp32", checkpoint_every_s=0.0)
CONFIG = ElasticConfig(
    family="r18",
    phases=tuple(
        ElasticPhase(depths=depths, widths=widths, train=TRAIN)
        for depths, widths in (
            (((2,),) * 4, (0.25,)),
            (((2,), (2,), (1, 2), (2,)), (0.125, 0.25)),
            (((1, 2),) * 4, (0.0625, 0.125, 0.25)),
        )
    ),
    sizes=((80, 64), (64, 64)),
    region_proposals=20,
    distill=DistillConfig(feature_regions=8),
    batch_size=2,
    calibration_images=4,
)
STEPS = 3  # of each phase


class Watched(RunProgress):
    """Notes the steps of a training, and can be told to interrupt it."""

    def __init__(self, stop: tuple[int, int] | None = None) -> None:
        super().__init__(Console(file=io.StringIO()))
        self.stop = stop
        self.steps: list[tuple[int, int]] = []  # (current step, completed)
        self.titles: list[str] = []

    def start_step(self, text: str, total: int) -> None:
        self.titles.append(text)
        super().start_step(text, total)

    def advance_step(self, completed: int, note: str = "") -> None:
        self.steps.append((len(self.titles) - 1, completed))
        if self.steps[-1] == self.stop:
            raise KeyboardInterrupt
        super().advance_step(completed, note)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ShapesData:
    return make_shapes(tmp_path_factory.mktemp("data") / "shapes", train=6, val=2)


def train_in(folder: Path, data: ShapesData, progress: Watched | None = None) -> TeacherPool:
    return train_pool(folder, CONFIG, PoolImages(data.folder, data.train, data.val), CPU, progress or Watched())


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for pools."""
    return tmp_path_factory.mktemp("teachers")


@pytest.fixture(scope="module")
def trained(pools: Path, data: ShapesData) -> TeacherPool:
    """A pool that was trained without a disturbance."""
    return train_in(find_pool(pools, CONFIG, data.train)[0], data)


@pytest.fixture
def copied(trained: TeacherPool, tmp_path: Path) -> Path:
    """A pool that a test may damage."""
    return Path(shutil.copytree(trained.folder, tmp_path / "pool"))


def weights_of(pool: TeacherPool) -> dict[str, torch.Tensor]:
    return pool.supernet.shared.state_dict()


def assert_same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], tensor) for name, tensor in other.items())


def test_every_phase_is_kept_and_the_manifest_comes_last(trained: TeacherPool) -> None:
    names = sorted(path.name for path in trained.folder.iterdir())
    assert names == [".lock", "phase-0.safetensors", "phase-1.safetensors", "phase-2.safetensors", "pool.json"]
    manifest = json.loads((trained.folder / "pool.json").read_text())
    assert manifest["images"] == 6 and manifest["class_names"] == list(trained.manifest.class_names)
    space = trained.space
    assert set(manifest["ap"]) >= {str(space.largest()), str(space.smallest())} and len(manifest["ap"]) == 3
    assert all(0 <= value <= 1 for value in manifest["ap"].values())
    assert ElasticConfig.model_validate(manifest["config"]) == CONFIG


def test_a_trained_pool_is_found_again_and_nothing_is_trained(
    trained: TeacherPool, pools: Path, data: ShapesData
) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in trained.folder.iterdir() if path.name != ".lock"}
    progress = Watched()
    again = train_in(find_pool(pools, CONFIG, data.train)[0], data, progress)
    assert progress.titles == [] and again.folder == trained.folder
    assert_same_weights(weights_of(again), weights_of(trained))
    assert before == {path.name: path.stat().st_mtime_ns for path in again.folder.iterdir() if path.name != ".lock"}
    assert is_trained(trained.folder) and not is_trained(pools)


def test_a_member_is_extracted_the_same_each_time_and_shares_no_memory(trained: TeacherPool) -> None:
    subnet = replace(trained.space.smallest(), widths=(0.125, 0.25, 0.0625, 0.125))
    before = {name: tensor.clone() for name, tensor in weights_of(trained).items()}
    one, other = trained.extract(subnet, CPU), trained.extract(subnet, CPU)
    assert one.arch == trained.space.arch(subnet)
    assert not any(module.training for module in one.modules())
    assert_same_weights(one.state_dict(), other.state_dict())
    with torch.no_grad():
        for tensor in one.state_dict().values():
            tensor.fill_(0)
    assert_same_weights(weights_of(trained), before)
    pointers = {tensor.untyped_storage().data_ptr() for tensor in weights_of(trained).values()}
    assert not pointers & {tensor.untyped_storage().data_ptr() for tensor in other.state_dict().values()}


def test_an_extracted_member_has_statistics_of_its_own(trained: TeacherPool) -> None:
    largest = trained.extract(trained.space.largest(), CPU).state_dict()
    assert all(torch.equal(largest[name], weights_of(trained)[name]) for name in largest if name.endswith("weight"))
    assert not torch.equal(
        largest["backbone.body.bn1.running_mean"], weights_of(trained)["backbone.body.bn1.running_mean"]
    )


@pytest.mark.parametrize(("images", "batches"), [(1, 1), (4, 1), (5, 2), (8, 2), (1000, 3)])
def test_statistics_are_measured_on_so_many_images_and_at_most_on_all_of_them(
    trained: TeacherPool, data: ShapesData, images: int, batches: int
) -> None:
    """In batches of four, whatever the batches of the training were; the last one may be more than was asked for."""
    seen: list[tuple[int, ...]] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.Conv2d) and module.in_channels == 3:
            seen.append(tuple(inputs[0].shape))

    twice = replace(data.train, records=data.train.records * 2)
    config = CONFIG.model_copy(update={"calibration_images": images})
    manifest = replace(trained.manifest, config=config)
    with register_module_forward_pre_hook(note):
        replace(trained, manifest=manifest, calibration=twice).extract(trained.space.smallest(), CPU, (72, 64))
    assert seen == [(4, 3, 64, 72)] * batches


def test_the_global_random_numbers_do_not_reach_what_is_extracted(trained: TeacherPool) -> None:
    torch.manual_seed(1)
    one = trained.extract(trained.space.smallest(), CPU)
    torch.manual_seed(2)
    assert_same_weights(one.state_dict(), trained.extract(trained.space.smallest(), CPU).state_dict())


def test_a_member_that_the_pool_has_not_is_refused(trained: TeacherPool) -> None:
    stranger = replace(trained.space.largest(), widths=(0.25, 0.25, 0.25, 0.5))
    with pytest.raises(InputError, match=r"has no member \[2-2-2-2\] x 0\.25/0\.25/0\.25/0\.5 at 80x64"):
        trained.extract(stranger, CPU)


def test_a_pool_that_is_named_must_know_the_classes(trained: TeacherPool, data: ShapesData) -> None:
    other = replace(data.train, class_names=("cell", "platelet", "x", "y"))
    with pytest.raises(InputError, match="know the classes circle, square, triangle, ring; the data has cell"):
        find_pool(trained.folder, CONFIG, other)


def test_a_pool_that_is_named_must_be_of_these_images(trained: TeacherPool, data: ShapesData) -> None:
    with pytest.raises(InputError, match="were trained on other images than these; train a pool for them"):
        find_pool(trained.folder, CONFIG, data.train.first(5))


def test_a_pool_that_is_named_must_be_of_this_kind_of_detector(trained: TeacherPool, data: ShapesData) -> None:
    with pytest.raises(InputError, match="are faster_rcnn detectors; a retinanet is wanted"):
        find_pool(trained.folder, CONFIG.model_copy(update={"detector": "retinanet"}), data.train)


def test_a_pool_that_is_named_is_taken_whatever_its_recipe(trained: TeacherPool, data: ShapesData) -> None:
    longer = CONFIG.model_copy(update={"seed": 9, "batch_size": 4, "sizes": ((96, 96),)})
    assert find_pool(trained.folder, longer, data.train) == (trained.folder, CONFIG), "its own recipe"
    assert open_pool(trained.folder, data.train).config == CONFIG


def test_a_folder_of_pools_has_one_for_each_recipe(pools: Path, trained: TeacherPool, data: ShapesData) -> None:
    assert find_pool(pools, CONFIG, data.train) == (trained.folder, CONFIG)
    other = CONFIG.model_copy(update={"seed": 9})
    folder, found = find_pool(pools, other, data.train)
    assert folder == pools / f"r18-{key_pool(other, data.train)}" != trained.folder and found == other
    assert not folder.exists()
    assert find_pool(pools / "absent", other, data.train) == (pools / "absent" / folder.name, other)


def test_an_unfinished_pool_that_is_named_must_be_of_this_recipe(data: ShapesData, tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    with pytest.raises(KeyboardInterrupt):
        train_in(folder, data, Watched((0, 1)))
    assert find_pool(folder, CONFIG, data.train) == (folder, CONFIG)
    assert find_pool(folder, often_saved(CONFIG), data.train)[0] == folder, "how often it is saved plays no part"
    other = CONFIG.model_copy(update={"seed": 9})
    with pytest.raises(InputError, match="not trained to the end, and by another recipe than this run's"):
        find_pool(folder, other, data.train)
    with pytest.raises(InputError, match="were trained on other images than these"):
        find_pool(folder, CONFIG, data.train.first(5))
    with pytest.raises(InputError, match="are faster_rcnn detectors; a retinanet is wanted"):
        find_pool(folder, CONFIG.model_copy(update={"detector": "retinanet"}), data.train)


def often_saved(config: ElasticConfig, **changes: object) -> ElasticConfig:
    """The same training, saved at another time (or changed otherwise)."""
    update = changes or {"checkpoint_every_s": 999.0, "max_bad_losses": 7}
    phases = tuple(phase.model_copy(update={"train": phase.train.model_copy(update=update)}) for phase in config.phases)
    return config.model_copy(update={"phases": phases})


def test_the_key_does_not_depend_on_how_a_training_is_saved_or_given_up(data: ShapesData) -> None:
    assert often_saved(CONFIG) != CONFIG
    assert key_pool(often_saved(CONFIG), data.train) == key_pool(CONFIG, data.train)
    keys = {
        key_pool(often_saved(CONFIG, **change), data.train)
        for change in ({"lr": 0.1}, {"epochs": 2}, {"ema_decay": 0.5})
    }
    assert len(keys | {key_pool(CONFIG, data.train)}) == 4


def test_what_was_evaluated_can_be_read_without_opening_the_pool(trained: TeacherPool, copied: Path) -> None:
    ap = json.loads((trained.folder / "pool.json").read_text())["ap"]
    (copied / "phase-2.safetensors").unlink()
    assert read_manifest(copied).ap == ap and set(ap) > {str(trained.space.largest())}
    with pytest.raises(InputError, match=r"it has no pool\.json"):
        read_manifest(copied.parent)


def test_the_key_depends_on_data_classes_and_recipe(data: ShapesData) -> None:
    moved = replace(data.train.records[0], boxes_xyxy=data.train.records[0].boxes_xyxy + 1)
    relabelled = replace(data.train.records[1], labels=(data.train.records[1].labels + 1) % 4)
    datasets = [
        data.train,
        data.train.first(5),
        replace(data.train, class_names=("a", "b", "c", "d")),
        replace(data.train, records=(moved, *data.train.records[1:])),
        replace(data.train, records=(data.train.records[0], relabelled, *data.train.records[2:])),
    ]
    configs = [CONFIG, *(CONFIG.model_copy(update=change) for change in ({"seed": 1}, {"sizes": ((80, 64),)}))]
    keys = [key_pool(CONFIG, dataset) for dataset in datasets] + [key_pool(config, data.train) for config in configs]
    assert keys[0] == keys[len(datasets)], "equal things have equal keys"
    assert len(set(keys)) == len(datasets) + len(configs) - 1


def test_the_key_is_there_whatever_the_images_are_called(data: ShapesData) -> None:
    """As files may be called whose names are not UTF-8."""
    odd = replace(data.train.records[0], path=Path(os.fsdecode(b"\xb0\xb2.png")))
    keys = {key_pool(CONFIG, data.train), key_pool(CONFIG, replace(data.train, records=(odd, *data.train.records[1:])))}
    assert len(keys) == 2


def test_the_key_does_not_depend_on_where_the_images_lie(data: ShapesData) -> None:
    records = tuple(replace(record, path=Path("elsewhere") / record.path.name) for record in data.train.records)
    assert key_pool(CONFIG, replace(data.train, records=records)) == key_pool(CONFIG, data.train)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"schema": 1}', '{"schema": 1, "config": {"family": "r18"}}', "\x00\x01"],
)
def test_a_damaged_manifest_is_one_clear_line(copied: Path, data: ShapesData, content: str) -> None:
    (copied / "pool.json").write_text(content)
    for use in (lambda: open_pool(copied, data.train), lambda: find_pool(copied, CONFIG, data.train)):
        with pytest.raises(InputError, match=r"the teacher pool .* is damaged: pool\.json cannot be read") as caught:
            use()
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="is damaged"):
        list_pools(copied.parent)


def test_a_manifest_of_another_version_is_refused(copied: Path, data: ShapesData) -> None:
    manifest = json.loads((copied / "pool.json").read_text())
    (copied / "pool.json").write_text(json.dumps(manifest | {"schema": 2}))
    with pytest.raises(InputError, match="schema version 2; this release reads version 1"):
        open_pool(copied, data.train)


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_damaged_weights_are_one_clear_line(copied: Path, data: ShapesData, damage: str) -> None:
    path = copied / "phase-2.safetensors"
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:-100] if damage == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=r"is damaged: phase-2\.safetensors is not the file it was made with"):
        open_pool(copied, data.train)


@pytest.mark.parametrize("damage", ["rubbish", "another network's"])
def test_weights_that_fit_the_manifest_and_nothing_else_are_one_clear_line(
    copied: Path, data: ShapesData, damage: str
) -> None:
    """As somebody leaves them who made the manifest fit."""
    path = copied / "phase-2.safetensors"
    if damage == "rubbish":
        path.write_bytes(b"rubbish" * 100)
    else:
        save_file({"weight": torch.zeros(3)}, path)
    content = json.loads((copied / "pool.json").read_text())
    content["weights_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (copied / "pool.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"cannot be read|are of another network") as caught:
        open_pool(copied, data.train)
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "change",
    [
        {"class_names": "circle"},
        {"class_names": [1]},
        {"images": "6"},
        {"data": 3},
        {"ap": [1]},
        {"ap": {"a": "1"}},
        {"ap": {"a": 1e999}},
        {"weights_sha256": None},
    ],
)
def test_a_manifest_of_wrong_types_is_one_clear_line(copied: Path, change: dict[str, object]) -> None:
    content = json.loads((copied / "pool.json").read_text())
    (copied / "pool.json").write_text(json.dumps(content | change))
    with pytest.raises(InputError, match=r"pool\.json cannot be read") as caught:
        read_manifest(copied)
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000])
def test_a_manifest_that_no_reader_can_follow_is_one_clear_line(copied: Path, text: str) -> None:
    (copied / "pool.json").write_text(text)
    with pytest.raises(InputError, match=r"pool\.json cannot be read") as caught:
        read_manifest(copied)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_pool(tmp_path: Path, data: ShapesData) -> None:
    with pytest.raises(InputError, match=r"is not a teacher pool: it has no pool\.json"):
        open_pool(tmp_path, data.train)


@pytest.mark.parametrize("stop", [(0, 2), (1, 1), (1, 3), (2, 2)], ids=lambda stop: f"phase {stop[0]} step {stop[1]}")
def test_a_killed_training_goes_on_to_the_very_same_weights(
    trained: TeacherPool, data: ShapesData, tmp_path: Path, stop: tuple[int, int]
) -> None:
    folder = tmp_path / "pool"
    with pytest.raises(KeyboardInterrupt):
        train_in(folder, data, Watched(stop))
    assert not is_trained(folder) and (folder / "training.json").is_file()
    progress = Watched()
    resumed = train_in(folder, data, progress)
    training = [completed for number, completed in progress.steps if "AP of" not in progress.titles[number]]
    phase, step = stop
    assert len(training) == STEPS * (2 - phase) + STEPS - (step - 1), "what was done is not done again"
    assert_same_weights(weights_of(resumed), weights_of(trained))
    manifests = [json.loads((pool / "pool.json").read_text()) for pool in (folder, trained.folder)]
    assert manifests[0] == manifests[1]
    assert not (folder / "training.json").exists() and not list(folder.glob("*.ckpt"))


def test_a_death_after_the_last_phase_costs_no_training(trained: TeacherPool, copied: Path, data: ShapesData) -> None:
    (copied / "pool.json").unlink()
    progress = Watched()
    again = train_in(copied, data, progress)
    assert all("AP of" in title for title in progress.titles)
    assert_same_weights(weights_of(again), weights_of(trained))


@pytest.mark.parametrize(
    "damage",
    [
        "garbage",
        "truncated",
        "another network's",
    ],
)
def test_a_damaged_phase_of_an_unfinished_pool_is_one_clear_line(
    trained: TeacherPool, copied: Path, data: ShapesData, damage: str
) -> None:
    for name in ("pool.json", "phase-2.safetensors"):
        (copied / name).unlink()
    path = copied / "phase-1.safetensors"
    if damage == "another network's":
        save_file({"weight": torch.zeros(3)}, path)
    else:
        path.write_bytes(b"garbage" * 100 if damage == "garbage" else path.read_bytes()[:-1000])
    with pytest.raises(RunFailed, match=r"phase-1\.safetensors is damaged .* delete it and the phases after it"):
        train_in(copied, data)
    path.unlink()
    assert_same_weights(weights_of(train_in(copied, data)), weights_of(trained))


def test_shrinking_starts_from_the_ranked_super_network_which_teaches_as_it_was(
    copied: Path, data: ShapesData, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pool.json", "phase-1.safetensors", "phase-2.safetensors"):
        (copied / name).unlink()
    starts, teachers = [], []

    def add_a_quarter(detector: Detector, loader: object, step: SubnetStep, *rest: object, **more: object) -> None:
        starts.append({name: tensor.clone() for name, tensor in detector.state_dict().items()})
        assert step.distillation is not None
        teachers.append(step.distillation._teacher[0].state_dict())
        with torch.no_grad():
            for parameter in detector.parameters():
                parameter.add_(0.25)

    monkeypatch.setattr(training, "train", add_a_quarter)
    train_in(copied, data)
    alone = load_file(copied / "phase-0.safetensors")
    ranked = build_detector(CONFIG.space().arch(CONFIG.space().largest()), 4)
    ranked.load_state_dict(alone)
    rank_channels(ranked)
    assert_same_weights(starts[0], ranked.state_dict())
    parameters = {name for name, _ in ranked.named_parameters()}
    assert_same_weights(starts[1], {n: v + 0.25 if n in parameters else v for n, v in starts[0].items()})
    for teacher in teachers:
        assert_same_weights(teacher, alone)


class Waiting(Watched):
    """Does something the first time a line is said."""

    def __init__(self, then: Callable[[], object]) -> None:
        super().__init__()
        self.then, self.lines = then, list[str]()

    def say(self, text: str) -> None:
        self.lines.append(text)
        if len(self.lines) == 1:
            self.then()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "POLL_S", 0.01)


@pytest.mark.usefixtures("impatient")
def test_a_second_process_waits_for_the_first_and_takes_what_it_trained(
    trained: TeacherPool, data: ShapesData, tmp_path: Path
) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    held = take_lock(folder)

    def finish() -> None:
        assert [path.name for path in folder.iterdir()] == [".lock"], "nothing is written before it has the lock"
        shutil.copytree(trained.folder, folder, dirs_exist_ok=True)
        held.close()

    progress = Waiting(finish)
    pool = train_in(folder, data, progress)
    assert progress.lines == [f"waiting for another process that is working on {folder}"]
    assert progress.titles == [] and not (folder / "training.json").exists()
    assert_same_weights(weights_of(pool), weights_of(trained))
    assert pool.folder == folder


@pytest.mark.usefixtures("impatient")
def test_a_second_process_goes_on_where_the_first_was_killed(
    trained: TeacherPool, data: ShapesData, tmp_path: Path
) -> None:
    folder = tmp_path / "pool"
    with pytest.raises(KeyboardInterrupt):
        train_in(folder, data, Watched((2, 1)))
    held = take_lock(folder)
    progress = Waiting(held.close)
    pool = train_in(folder, data, progress)
    assert "waiting for another process" in progress.lines[0] and len(progress.lines) == 2
    assert progress.titles[0].startswith("teachers 3/3")
    assert_same_weights(weights_of(pool), weights_of(trained))


def test_a_trained_pool_is_opened_whoever_works_on_it(copied: Path, trained: TeacherPool, data: ShapesData) -> None:
    with take_lock(copied):
        progress = Waiting(lambda: pytest.fail("it waits"))
        assert_same_weights(weights_of(train_in(copied, data, progress)), weights_of(trained))


def test_the_lock_is_given_back_after_a_death(data: ShapesData, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path / "pool", data, Watched((0, 1)))
    with take_lock(tmp_path / "pool"):
        pass


def test_a_folder_that_cannot_be_made_is_one_clear_line(data: ShapesData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RunFailed, match="cannot write in"):
        train_in(tmp_path / "file" / "pool", data)


def test_pools_are_listed_finished_and_unfinished(copied: Path, data: ShapesData) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_in(copied.parent / "another", data, Watched((1, 1)))
    (copied.parent / "something else").mkdir()
    (copied.parent / "file").write_text("x")
    unfinished, finished = list_pools(copied.parent)
    assert (unfinished.folder.name, unfinished.is_trained, unfinished.ap) == ("another", False, {})
    assert (finished.folder, finished.is_trained, len(finished.ap)) == (copied, True, 3)
    assert unfinished.config == finished.config == CONFIG
    assert unfinished.class_names == finished.class_names == data.train.class_names
    assert list_pools(copied.parent / "absent") == []


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_note_of_an_unfinished_pool_is_one_clear_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "training.json").write_text(content)
    with pytest.raises(InputError, match=r"is damaged: training\.json cannot be read"):
        list_pools(tmp_path)
