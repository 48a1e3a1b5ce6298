"""A teacher that is there already: the base, the best detector of another run, a checkpoint, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_trials import make_done
from safetensors.torch import load_file, save_file

from optimizer.arch.families import base_arch
from optimizer.config import RunConfig
from optimizer.detectors import build_detector
from optimizer.errors import InputError
from optimizer.recipes import distilled, smoke
from optimizer.run.trained_teacher import check_teacher, choose_teacher, follow_teacher
from optimizer.search.base import DoneTrial
from optimizer.store import DataSummary, RunStore

CLASSES = ("circle", "square")


def teach(teacher: object) -> RunConfig:
    return smoke().changed({"search.teacher": teacher})


def write_weights(path: Path, classes: int = len(CLASSES), seed: int = 0) -> Path:
    detector = build_detector(smoke().base_arch(), classes, seed=seed)
    save_file(detector.state_dict(), path)
    return path


def write_run(folder: Path, classes: tuple[str, ...] = CLASSES, aps: tuple[float, ...] = (0.3, 0.5, 0.4)) -> Path:
    """A run whose trials have weights of their own."""
    with RunStore.create(folder, smoke().model_dump(mode="json")) as store:
        store.data = DataSummary(classes, 16, 8)
        (folder / "scratch").mkdir()
        for number, ap in enumerate(aps):
            weights = store.artefacts.put_file(write_weights(folder.parent / "weights", seed=number))
            trial: DoneTrial = make_done(number=number, arch=smoke().base_arch(), ap=ap)
            store.record(replace(trial, files=replace(trial.files, weights=weights)))
    return folder


def read_first(weights: Path) -> torch.Tensor:
    return load_file(weights)["backbone.body.conv1.weight"]


def test_the_base_teaches_with_the_weights_it_was_stored_with(tmp_path: Path) -> None:
    with RunStore.open(write_run(tmp_path / "run")) as store:
        teacher = choose_teacher(store, teach("base"), CLASSES)
        assert teacher is not None and teacher.arch == smoke().base_arch()
        assert torch.equal(read_first(teacher.weights), read_first(write_weights(tmp_path / "base")))


@pytest.mark.parametrize("kind", ["none", "dynamic", "fixed"])
def test_runs_without_one_or_with_a_pool_have_none(tmp_path: Path, kind: str) -> None:
    check_teacher(teach(kind), CLASSES)
    with RunStore.open(write_run(tmp_path / "run")) as store:
        assert choose_teacher(store, teach(kind), CLASSES) is None


def test_of_another_run_the_detector_of_highest_ap_teaches_and_is_kept(tmp_path: Path) -> None:
    other = write_run(tmp_path / "other")
    config = teach(other)
    check_teacher(config, CLASSES)
    with RunStore.open(write_run(tmp_path / "run")) as store:
        teacher = choose_teacher(store, config, CLASSES)
        assert teacher is not None and teacher.weights.is_relative_to(store.folder)
        assert torch.equal(read_first(teacher.weights), read_first(write_weights(tmp_path / "best", seed=1)))
        other.rename(tmp_path / "moved")
        assert choose_teacher(store, config, CLASSES) == teacher, "a resumed run has it already"


def test_a_checkpoint_teaches_with_all_its_weights(tmp_path: Path) -> None:
    config = teach(write_weights(tmp_path / "teacher.safetensors", seed=5))
    check_teacher(config, CLASSES)
    with RunStore.open(write_run(tmp_path / "run")) as store:
        teacher = choose_teacher(store, config, CLASSES)
        assert teacher is not None
        assert torch.equal(read_first(teacher.weights), read_first(tmp_path / "teacher.safetensors"))


def test_what_cannot_teach_is_refused_before_any_work(tmp_path: Path) -> None:
    refused = {
        tmp_path / "nothing": "there is no teacher .*; --teacher takes base, dynamic",
        write_weights(tmp_path / "more.safetensors", classes=7): "cannot teach: it has no weights for class head",
        write_run(tmp_path / "cats", classes=("cat", "dog")): "know other classes",
        write_run(tmp_path / "empty", aps=()): "no trained detector yet",
    }
    for teacher, words in refused.items():
        with pytest.raises(InputError, match=words):
            check_teacher(teach(teacher), CLASSES)


def test_a_detector_of_a_run_is_named_by_itself_or_by_its_bundle(tmp_path: Path) -> None:
    other = write_run(tmp_path / "other")
    named = {"base": 0, "student-001": 1, "student-002": 2, "bundles/student-002": 2, "": 1}
    for place, (name, seed) in enumerate(named.items()):
        config = teach(other / name)
        assert check_teacher(config, CLASSES) == smoke().base_arch()
        with RunStore.open(write_run(tmp_path / str(place), aps=())) as store:
            teacher = choose_teacher(store, config, CLASSES)
            assert teacher is not None
            assert torch.equal(read_first(teacher.weights), read_first(write_weights(tmp_path / "named", seed=seed)))
            assert store.trained_teacher is not None and store.trained_teacher.epochs == 5


def test_a_detector_that_a_run_does_not_have_is_refused(tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", aps=(0.3, 0.5))
    refusal = r"has no trained detector .*; it has base, student-001$|there is no teacher"
    for name in ("student-007", "bundles/student-001-int8", "bundles", "pictures/student-001"):
        with pytest.raises(InputError, match=refusal):
            check_teacher(teach(other / name), CLASSES)
        with pytest.raises(InputError, match=refusal):
            follow_teacher(other / name, None)


def test_one_student_takes_after_its_teacher(tmp_path: Path) -> None:
    run = write_run(tmp_path / "other", aps=(0.3,))
    assert follow_teacher(run, None) == {
        "base": "r18", "detector": "faster_rcnn", "input_size": (96, 96), "region_proposals": 30, "box_head": None,
    }  # fmt: skip
    with RunStore.open(run) as store:
        store.record(make_done(3, arch=base_arch("r50", (128, 64), "retinanet")))
    assert follow_teacher(run / "student-003", None) == {
        "base": "r18", "detector": "retinanet", "input_size": (128, 64), "box_head": None,
    }  # fmt: skip
    assert follow_teacher(write_weights(tmp_path / "teacher.safetensors"), "r50") == {}


def test_the_family_of_a_file_is_named_and_that_of_a_run_is_not(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not say which detector its weights are of: .* --base r50"):
        follow_teacher(write_weights(tmp_path / "teacher.safetensors"), None)
    with pytest.raises(InputError, match=r"--base r50 is for a teacher that is a file .* leave it out"):
        follow_teacher(write_run(tmp_path / "other", aps=(0.3,)), "r50")
    with pytest.raises(InputError, match=r"there is no teacher .*nowhere"):
        follow_teacher(tmp_path / "nowhere", None)


def test_one_student_and_its_teacher_are_of_one_kind_and_may_be_of_different_families(tmp_path: Path) -> None:
    run = write_run(tmp_path / "other", aps=(0.3,))
    config = distilled(smoke(), "r50", run)
    assert check_teacher(config, CLASSES) == smoke().base_arch()
    assert check_teacher(config.changed({"input_size": (128, 128)}), CLASSES) == smoke().base_arch()
    with pytest.raises(InputError, match="a faster_rcnn cannot teach a retinanet"):
        check_teacher(config.changed({"detector": "retinanet"}), CLASSES)
    with pytest.raises(InputError, match=r"know other classes .* than this run \(cat, dog\); a teacher knows"):
        check_teacher(config.changed({"data": Path("images")}), ("cat", "dog"))
    with pytest.raises(InputError, match=r"\(cat, dog, whose images are generated: name others with --data\)"):
        check_teacher(config, ("cat", "dog"))
    with pytest.raises(InputError, match="there is no distiller 'magic'; there are: "):
        check_teacher(config.changed({"distill.weights": {"magic": 1.0}}), CLASSES)
