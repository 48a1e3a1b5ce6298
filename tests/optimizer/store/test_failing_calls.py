"""A run on a disk that fails at any call: one line, and what was recorded is there when it goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from failing import CALLS, CODES, fail_at_every_call
from made_trials import make_done

from deploy.data import read_dataset
from optimizer.data.shapes import write_shapes
from optimizer.errors import InputError, RunFailed
from optimizer.recipes import smoke
from optimizer.run.gather import report_run
from optimizer.search.base import TrialFiles
from optimizer.store import RunStore
from optimizer.store.run_store import DATABASE
from optimizer.train.checkpoint import load_checkpoint, save_checkpoint

pytestmark = [pytest.mark.parametrize("call", CALLS), pytest.mark.parametrize("code", CODES), pytest.mark.timeout(120)]
CONFIG = smoke().changed({"search.cost": "macs", "search.teacher": "none"})


def start(folder: Path) -> RunStore:
    """A new run, or the one that is there, as its user would."""
    if (folder / DATABASE).exists():
        return RunStore.open(folder)
    return RunStore.create(folder, CONFIG.model_dump(mode="json"))


def test_a_trial(tmp_path: Path, call: str, code: int) -> None:
    (tmp_path / "weights").write_bytes(b"weights" * 100)
    (tmp_path / "cases").mkdir()

    def work(folder: Path) -> None:
        with start(folder) as store:
            kept = store.artefacts.put_file(tmp_path / "weights")
            store.record(make_done(files=TrialFiles(kept, kept)))

    def check(folder: Path) -> None:
        with RunStore.open(folder) as store:
            (trial,) = store.history()
            assert store.artefacts.path(trial.files.weights, verify=True).read_bytes() == b"weights" * 100
            assert len(list((folder / "artefacts").iterdir())) == 1

    failed = fail_at_every_call(
        call, code, tmp_path / "cases", work, (RunFailed, InputError), check, lambda folder: None
    )
    assert failed >= 1


def test_a_report(tmp_path: Path, call: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optimizer.report.page.write_library", lambda: "")
    monkeypatch.setattr("optimizer.run.gather.describe_environment", dict)
    images = read_dataset(write_shapes(tmp_path / "shapes", train=2, val=1, size=(64, 64), seed=0), "val")
    (tmp_path / "cases").mkdir()

    def prepare(folder: Path) -> None:
        with start(folder) as store:
            store.record(make_done())
            report_run(store, CONFIG, images, "running")

    def work(folder: Path) -> None:
        with RunStore.open(folder) as store:
            report_run(store, CONFIG, images, "finished")

    def check(folder: Path) -> None:
        assert "finished" in (folder / "report.html").read_text()

    failed = fail_at_every_call(call, code, tmp_path / "cases", work, (RunFailed, InputError), check, prepare)
    assert failed >= 2


def test_a_checkpoint(tmp_path: Path, call: str, code: int) -> None:
    if call == "write":
        pytest.skip("torch writes by itself: tests/smoke/test_kill_and_resume.py has a full disk")

    def prepare(folder: Path) -> None:
        folder.mkdir()
        save_checkpoint(folder / "a.ckpt", "it", {"step": torch.tensor(1)})

    def work(folder: Path) -> None:
        try:
            save_checkpoint(folder / "a.ckpt", "it", {"step": torch.tensor(2)}, trained_s=10_000)
        except RunFailed:
            state = load_checkpoint(folder / "a.ckpt", "it")
            assert state is not None and int(state["step"]) in (1, 2)
            raise

    def check(folder: Path) -> None:
        state = load_checkpoint(folder / "a.ckpt", "it")
        assert state is not None and int(state["step"]) == 2

    assert fail_at_every_call(call, code, tmp_path, work, (RunFailed,), check, prepare) >= 1
