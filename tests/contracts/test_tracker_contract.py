"""What every tracker must do: what is told is read back with its own library, and what fails ends no search."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tracked_runs import READERS

from optimizer.cli import main
from optimizer.track.base import SEARCH, Training
from optimizer.track.catalogue import TRACKERS
from optimizer.track.mlflow import DATABASE
from optimizer.track.recorder import Recorder, Recorders
from optimizer.train.loop import Progress

IDENTITY = "0123456789abcdef"
MEMBERS = pytest.mark.parametrize("name", TRACKERS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a run, whose trackers keep everything in or beside it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    run = tmp_path / "run"
    run.mkdir()
    return run


def begin(name: str, folder: Path, said: list[str] | None = None, begun: bool = False) -> Recorder:
    pytest.importorskip(TRACKERS[name].package)
    recorder = Recorder(name, (said if said is not None else []).append)
    recorder.open(TRACKERS[name], folder, IDENTITY, begun)
    return recorder


def test_every_tracker_has_a_reader_here() -> None:
    assert set(READERS) == set(TRACKERS)


@MEMBERS
def test_what_is_told_is_read_back(name: str, folder: Path) -> None:
    said: list[str] = []
    recorder = begin(name, folder, said)
    for step in (1, 2, 5):
        recorder.log("trial-001", step, {"train/loss": 1 / step, "train/lr": 0.5})
    recorder.log("trial-001", 5, {"ap_kept": 0.25})
    recorder.describe("trial-001", {"parent": 0, "actions": "prune channels"}, {"ap": 0.5, "macs": 4e9})
    recorder.end("trial-001", "finished")
    recorder.describe("trial-002", {"parent": 1, "error": "the loss was not finite"}, {})
    recorder.end("trial-002", "failed")
    recorder.log(SEARCH, 1, {"front/hypervolume": 0.125})
    recorder.write(SEARCH, 1, "front", "| student | AP |")
    recorder.close("finished")
    found = READERS[name](folder)
    assert set(found) == {SEARCH, "trial-001", "trial-002"}
    trial = found["trial-001"]
    assert trial.series["train/loss"] == [(1, 1.0), (2, 0.5), (5, pytest.approx(0.2))]
    assert trial.series["ap_kept"] == [(5, 0.25)] and trial.series["ap"] == [(0, 0.5)]
    assert trial.series["macs"] == [(0, 4e9)] and trial.parameters == {"parent": "0", "actions": "prune channels"}
    assert found[SEARCH].series == {"front/hypervolume": [(1, 0.125)]}
    assert found[SEARCH].texts == {"front 1": "| student | AP |"}
    assert "the loss was not finite" in str(found["trial-002"]) and not found["trial-002"].series
    assert [line.startswith("tracked: ") for line in said] == [True]


@MEMBERS
def test_a_later_process_goes_on_in_the_same_runs_and_repeats_nothing(name: str, folder: Path) -> None:
    def tell(recorder: Recorder, steps: int) -> None:
        for step in range(1, steps + 1):
            recorder.log("base", step, {"train/loss": float(step)})
        recorder.log(SEARCH, 0, {"front/hypervolume": 0.5})
        recorder.write(SEARCH, 3, "front", "as it was")

    tell(begin(name, folder), 3)  # it is killed: nothing is ended
    second = begin(name, folder, begun=True)
    tell(second, 5)
    second.describe("base", {"trial": 0}, {"ap": 0.5})
    second.close("stopped")
    third = begin(name, folder, begun=True)
    third.describe("base", {"trial": 0}, {"ap": 0.5})
    tell(third, 5)
    third.close("finished")
    found = READERS[name](folder)
    assert set(found) == {SEARCH, "base"}
    assert found["base"].series == {"train/loss": [(step, float(step)) for step in range(1, 6)], "ap": [(0, 0.5)]}
    assert found[SEARCH].series == {"front/hypervolume": [(0, 0.5)]}
    assert found[SEARCH].texts == {"front 3": "as it was"}
    assert {found["base"].status, found[SEARCH].status} <= {"", "FINISHED"}


def break_tensorboard(folder: Path) -> None:
    """Its folder becomes a file."""
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    (folder / "tensorboard").write_text("")


def break_mlflow(folder: Path) -> None:
    """Its database becomes another file."""
    (folder.parent / DATABASE).unlink(missing_ok=True)
    (folder.parent / DATABASE).write_bytes(b"no database" * 1000)


BREAKS: dict[str, Callable[[Path], None]] = {"tensorboard": break_tensorboard, "mlflow": break_mlflow}


@MEMBERS
def test_one_that_fails_is_said_once_and_logged_and_ends_nothing(
    name: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    recorder = begin(name, folder, said)
    recorder.log("base", 1, {"train/loss": 1.0})
    BREAKS[name](folder)
    with caplog.at_level(logging.INFO, "detopt"):
        for number in range(3):
            recorder.log(f"trial-{number}", 1, {"train/loss": 1.0})
            recorder.write(f"trial-{number}", 1, "front", "text")
        recorder.close("finished")
    assert not recorder.works and len(said) == 2
    assert said[1].startswith(f"warning: {name} records nothing more (") and "\n" not in said[1]
    assert [bool(record.exc_info) for record in caplog.records if record.name == "detopt"] == [True]


@MEMBERS
def test_one_that_cannot_begin_is_said_and_leaves_the_others(name: str, folder: Path) -> None:
    BREAKS[name](folder)
    said: list[str] = []
    broken = begin(name, folder, said)
    broken.log("base", 1, {"train/loss": 1.0})
    others = [begin(other, folder) for other in TRACKERS if other != name]
    Recorders((broken, *others)).log("base", 1, {"train/loss": 1.0})
    for recorder in others:
        recorder.close("finished")
        assert READERS[recorder.name](folder)["base"].series == {"train/loss": [(1, 1.0)]}
    assert "records nothing more" in said[-1] and len(said) <= 2


@MEMBERS
def test_a_missing_package_is_one_line_before_any_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("torch.utils.tensorboard", "mlflow", "mlflow.tracking"):
        monkeypatch.setitem(sys.modules, module, None)  # importing it fails as if it were not there
    with pytest.raises(SystemExit) as stopped:
        main(["--base", "r18", "--preset", "smoke", "--track", name, "--out", str(tmp_path / "run")])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.count("\n") == 1
    assert f"--track {name} needs the package {TRACKERS[name].package}" in error
    assert f"pip install {TRACKERS[name].package}, or detopt[{name}]" in error
    assert not (tmp_path / "run").exists()


def test_no_library_is_imported_unless_asked_for() -> None:
    code = (
        "import sys, optimizer.run.run, optimizer.track.catalogue;"
        "print(sorted({'mlflow', 'tensorboard'} & {name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_long_training_is_some_two_hundred_points(folder: Path) -> None:
    recorder = begin("tensorboard", folder)
    for step in range(1, 1000):
        at: Training = Progress(step, 999, 2.0, 0.1, {})
        Recorders((recorder,)).log_training("base", "train/", 100, at)
    recorder.close("finished")
    points = READERS["tensorboard"](folder)["base"].series["train/loss"]
    assert 200 <= len(points) <= 260 and points[-1] == (1099, 2.0)


@MEMBERS
def test_files_are_kept_or_left_alone(name: str, folder: Path) -> None:
    (folder / "bundles" / "base").mkdir(parents=True)
    (folder / "bundles" / "base" / "model.onnx").write_bytes(b"model")
    (folder / "report.html").write_text("<html></html>")
    recorder = begin(name, folder)
    recorder.log(SEARCH, 0, {"front/hypervolume": 0.5})
    recorder.keep({"report.html": folder / "report.html", "bundles": folder / "bundles"})
    assert recorder.works
    recorder.close("finished")
    assert READERS[name](folder)[SEARCH].files in (set(), {"report.html", "bundles/base/model.onnx"})
