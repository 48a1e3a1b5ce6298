"""The base of one run taken over by another: what must agree, what need not, and what is copied."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_trials import make_done

from optimizer.config import RunConfig
from optimizer.errors import InputError
from optimizer.recipes import smoke
from optimizer.run.base_run import adopt_base, check_base
from optimizer.search.base import DoneTrial, FailedTrial, PendingTrial, Proposal, Trial, Work
from optimizer.store import DataSummary, RunStore

DATA = DataSummary(("circle", "square"), 16, 8)
CONFIG = smoke()
BASE = make_done(arch=CONFIG.base_arch(), ap=0.3, work=Work(5.0, 9.0))


def write_run(folder: Path, trial: Trial | None = BASE, config: RunConfig = CONFIG) -> Path:
    """A run of which nothing but trial 0 is there."""
    with RunStore.create(folder, config.model_dump(mode="json")) as store:
        store.data = DATA
        if isinstance(trial, DoneTrial):
            for name in ("weights", "model"):
                source = folder.parent / name
                source.write_bytes(name.encode() * 50)
                trial = replace(trial, files=replace(trial.files, **{name: store.artefacts.put_file(source)}))
        if trial is not None:
            store.record(trial)
    return folder


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return write_run(tmp_path / "other")


def test_the_same_base_is_taken(other: Path) -> None:
    trial = check_base(other, CONFIG, DATA)
    assert replace(trial, files=BASE.files) == BASE
    assert check_base(other, CONFIG, None) == trial, "images that are yet to be generated cannot be compared"


def test_a_run_that_is_being_written_can_be_read(other: Path) -> None:
    with RunStore.open(other):
        assert check_base(other, CONFIG, DATA).ap == 0.3


@pytest.mark.parametrize(
    "changes",
    [
        {"base_train.epochs": 50},
        {"weights": Path("checkpoint.pth")},
        {"search.trials": 40, "search.method": "random", "search.teacher": "none"},
        {"budget_s": 60.0, "batch_size": 8},
    ],
)
def test_how_the_base_was_trained_and_what_follows_may_differ(other: Path, changes: dict[str, Any]) -> None:
    assert check_base(other, CONFIG.changed(changes), DATA).number == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": (64, 64), "search.space.sizes": ((64, 64),)}, "its architecture or canvas is"),
        ({"base": "r50"}, "its architecture or canvas is"),
        ({"region_proposals": 20}, "its architecture or canvas is"),
        ({"data": Path("images")}, r"its data is generated shapes \(.*seed 0\), this run wants .*images"),
        ({"seed": 3}, "its data is generated shapes .* seed 0.*, this run wants generated shapes .* seed 3"),
        ({"shapes.train": 99}, "its data is generated shapes"),
        ({"target": "jetson"}, "its target is cpu, this run wants jetson"),
        ({"search.cost": "macs"}, "its cost is latency, this run wants macs"),
    ],
)
def test_another_base_is_refused_with_what_differs(other: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"is another one: {message}") as caught:
        check_base(other, CONFIG.changed(changes), DATA)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [DATA._replace(val=9), DATA._replace(class_names=("circle",)), DATA._replace(class_names=("square", "circle"))],
)
def test_data_that_changed_under_the_same_name_are_refused(other: Path, data: DataSummary) -> None:
    with pytest.raises(InputError, match=r"the data changed since the base of .* was trained: was .*; is "):
        check_base(other, CONFIG, data)


def test_a_base_that_saw_the_images_a_run_keeps_out_is_refused(other: Path, tmp_path: Path) -> None:
    screening = CONFIG.changed({"search.method": "pareto"})
    with pytest.raises(InputError, match="was trained on every training image, and this run keeps some out"):
        check_base(other, screening, DATA)
    trained_out = write_run(tmp_path / "auto", config=CONFIG.changed({"base_epochs": "auto"}))
    assert check_base(trained_out, screening, DATA).ap == check_base(trained_out, CONFIG, DATA).ap == 0.3


def test_a_base_that_detects_nothing_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "other", replace(BASE, ap=0.0))
    with pytest.raises(InputError, match=r"detects nothing \(AP 0\), so students cannot be compared with it"):
        check_base(folder, CONFIG, DATA)


@pytest.mark.parametrize(
    "trial", [None, PendingTrial(0, Proposal(None)), FailedTrial(0, Proposal(None), "made to fail")]
)
def test_a_base_that_is_not_trained_yet_is_refused(tmp_path: Path, trial: Trial | None) -> None:
    with pytest.raises(InputError, match="is not trained yet"):
        check_base(write_run(tmp_path / "other", trial), CONFIG, DATA)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a run"):
        check_base(tmp_path, CONFIG, DATA)


def test_weights_and_model_are_copied(other: Path, tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run", CONFIG.model_dump(mode="json")) as store:
        store.data = DATA
        trial = adopt_base(store, other, CONFIG)
        assert store.history() == [], "recording it is the run's matter"
        for sha256, content in ((trial.files.weights, b"weights" * 50), (trial.files.model, b"model" * 50)):
            assert store.artefacts.path(sha256, verify=True).read_bytes() == content


def test_nothing_is_taken_over_where_the_runs_data_differ(other: Path, tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run", CONFIG.model_dump(mode="json")) as store:
        store.data = DATA._replace(val=9)
        with pytest.raises(InputError, match="the data changed"):
            adopt_base(store, other, CONFIG)
        assert not list((tmp_path / "run" / "artefacts").iterdir())


def test_a_damaged_artefact_is_not_taken_over(other: Path, tmp_path: Path) -> None:
    weights = check_base(other, CONFIG, DATA).files.weights
    (other / "artefacts" / weights).write_bytes(b"damaged")
    with RunStore.create(tmp_path / "run", CONFIG.model_dump(mode="json")) as store:
        store.data = DATA
        with pytest.raises(InputError, match="does not have the content its name says"):
            adopt_base(store, other, CONFIG)
