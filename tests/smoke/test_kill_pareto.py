"""A `pareto` search killed as it looks at students, trains one, and trains the last one, ends as if it never was."""

from __future__ import annotations

import multiprocessing
import signal
import sqlite3
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from optimizer.recipes import smoke
from optimizer.run.run import resume_run, start_run
from optimizer.search.base import PendingTrial
from optimizer.store.run_store import RunStore

pytestmark = pytest.mark.timeout(900)  # whole runs, on a machine that may be busy

FORKS = multiprocessing.get_context("forkserver")  # every process of a run starts with torch loaded
FORKS.set_forkserver_preload(["optimizer.run.run"])
CONFIG = smoke().changed({
    "search.method": "pareto", "search.cost": "macs", "search.teacher": "base", "search.trials": 1,
    "search.screened": 2, "search.rung_epochs": (2,), "search.finetuned": 1, "finetune.epochs": 2, "pool": None,
    "base_train.epochs": 12, "seed": 5, "trial_train.checkpoint_every_s": 0.2, "finetune.checkpoint_every_s": 0.2,
})  # fmt: skip

Moment = Callable[[PendingTrial, Path], bool]


def is_training(trial: PendingTrial, run: Path) -> bool:
    """Whether its training was saved at least once."""
    return (run / "scratch" / f"trial-{trial.number}.ckpt").exists()


MOMENTS: dict[str, Moment] = {
    "while it looks": lambda trial, run: trial.proposal.screens and trial.number > 1,
    "in a rung": lambda trial, run: (
        bool(trial.proposal.epochs) and not trial.proposal.finetune and is_training(trial, run)
    ),
    "in the last training": lambda trial, run: trial.proposal.finetune and is_training(trial, run),
}


def launch(work: Callable[..., Path], *arguments: object) -> BaseProcess:
    """A process of its own that does a run, or the rest of it."""
    process = FORKS.Process(target=work, args=arguments)
    process.start()
    return process


def is_at(run: Path, moment: Moment) -> bool:
    if not (run / "run.db").exists():
        return False
    with RunStore.open(run, writable=False) as store:
        return any(isinstance(trial, PendingTrial) and moment(trial, run) for trial in store.history())


def recorded_trials(run: Path) -> list[tuple[object, ...]]:
    """What must be equal: everything in the trials table that is not a time."""
    with sqlite3.connect(f"file:{run / 'run.db'}?mode=ro", uri=True) as database:
        return database.execute(
            "select number, status, proposal, arch, ap, ap50, macs, params, cost_ratio, score, weights, model, "
            "epochs_total, curve, error from trials order by number"
        ).fetchall()


def test_a_kill_at_every_stage_changes_nothing(tmp_path: Path) -> None:
    whole = launch(start_run, CONFIG, tmp_path / "whole")
    whole.join()
    assert whole.exitcode == 0
    run = tmp_path / "killed"
    process = launch(start_run, CONFIG, run)
    for name, moment in MOMENTS.items():
        while not is_at(run, moment):
            assert process.is_alive(), f"it ended before the kill {name}"
            time.sleep(0.02)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, name
        process = launch(resume_run, run)
    process.join()
    assert process.exitcode == 0
    trials = recorded_trials(run)
    assert trials == recorded_trials(tmp_path / "whole")
    assert {status for _, status, *_ in trials} == {"done", "screened"}
    assert (run / "front.json").exists()
