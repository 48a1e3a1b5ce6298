"""A pool on disk: trained once, found again, and refused where it does not fit."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from shapes_data import ShapesData
from small_pool import CONFIG, CPU, assert_same_weights, often_saved, train_in, weights_of
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from watched import Watched

from optimizer.errors import InputError
from optimizer.supernet.elastic_config import ElasticConfig
from optimizer.supernet.manifest import is_trained, key_pool, read_manifest
from optimizer.supernet.pool import TeacherPool, find_pool, list_pools, open_pool


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
