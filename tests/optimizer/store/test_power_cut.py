"""After a power cut at any moment a run has the trials that it had recorded, each with its files, and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from made_trials import make_done
from power_cut import cut_at_every_moment
from replay import lay

from deploy.data import read_dataset
from optimizer.data.shapes import write_shapes
from optimizer.recipes import smoke
from optimizer.run.gather import report_run
from optimizer.search.base import DoneTrial, PendingTrial, Proposal, TrialFiles
from optimizer.store import RunStore
from optimizer.store.run_store import DATABASE
from optimizer.train.checkpoint import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.timeout(120)
CONFIG = smoke().changed({"search.cost": "macs", "search.teacher": "none"})


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


def start(folder: Path) -> RunStore:
    """A new run, or the one that is there, as its user would."""
    if (folder / DATABASE).exists():
        return RunStore.open(folder)
    return RunStore.create(folder, CONFIG.model_dump(mode="json"))


def do_trials(folder: Path, source: Path) -> None:
    """Those that are not done yet."""
    with start(folder) as store:
        done = {trial.number for trial in store.history() if isinstance(trial, DoneTrial)}
        for number in sorted({0, 1} - done):
            proposal = Proposal(0 if number else None)
            store.record(PendingTrial(number, proposal))
            source.write_bytes(b"weights of %d" % number)
            kept = store.artefacts.put_file(source)
            store.record(make_done(number, proposal, files=TrialFiles(kept, kept)))


def test_a_trial(disk: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    states = cut_at_every_moment(disk, lambda: do_trials(disk / "runs" / "run", source))
    counts = []
    for number, state in enumerate(states):
        left = lay(tmp_path / f"{number}", state) / "runs" / "run"
        done: list[DoneTrial] = []
        if (left / DATABASE).exists():
            with RunStore.open(left) as store:
                done = [trial for trial in store.history() if isinstance(trial, DoneTrial)]
                for trial in done:
                    content = store.artefacts.path(trial.files.weights, verify=True).read_bytes()
                    assert content == b"weights of %d" % trial.number
        counts.append(len(done))
        do_trials(left, source)
        with RunStore.open(left, writable=False) as store:
            assert [trial.status for trial in store.history()] == ["done", "done"]
    assert counts[-2:] == [2, 2], "what was recorded in the end is there, whatever is dropped"
    assert set(counts) == {0, 1, 2}


def test_a_report(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optimizer.report.page.write_library", lambda: "")
    images = read_dataset(write_shapes(tmp_path / "shapes", train=2, val=1, size=(64, 64), seed=0), "val")
    with start(disk / "run") as store:
        store.record(make_done())
        report_run(store, CONFIG, images, "running")
        pages = [(store.folder / "report.html").read_bytes()]
        states = cut_at_every_moment(disk, lambda: report_run(store, CONFIG, images, "finished"))
        pages.append((store.folder / "report.html").read_bytes())
    assert {state["run/report.html"] for state in states} == set(pages)
    assert [state["run/report.html"] for state in states[-2:]] == pages[-1:] * 2


def test_a_checkpoint_of_a_long_training(disk: Path, tmp_path: Path) -> None:
    path = disk / "a.ckpt"
    save_checkpoint(path, "it", {"step": torch.tensor(1)}, trained_s=10_000)
    state_dict = {"step": torch.tensor(2)}
    states = cut_at_every_moment(disk, lambda: save_checkpoint(path, "it", state_dict, trained_s=10_000))
    steps = []
    for number, state in enumerate(states):
        content = load_checkpoint(lay(tmp_path / f"{number}", state) / "a.ckpt", "it")
        assert content is not None
        steps.append(int(content["step"]))
    assert set(steps) == {1, 2} and steps[-2:] == [2, 2]
