"""A search on Ray whose trainings sleep: everything of `optimizer.workers` but torch, for kills and for timings.

    python ray_formula.py FOLDER TRIALS AT_ONCE SECONDS

starts or resumes the run in FOLDER/run, on the cluster that RAY_ADDRESS names. A training notes its process in FOLDER.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from deploy import TargetSpec
from optimizer.arch.actions import uniform_importance
from optimizer.arch.families import base_arch
from optimizer.arch.macs import count
from optimizer.recipes import smoke
from optimizer.search import Search, StrategySettings, build_strategy, search_at_once
from optimizer.search.base import DoneTrial, History, PendingTrial, Proposal, TrialFiles, Work, get_done
from optimizer.store import RunStore
from optimizer.store.run_store import DATABASE
from optimizer.workers.order import Answer, Order, dump_trial, parse_trial
from optimizer.workers.pool import Pool, Share

__all__ = ["Formula", "sleep_as_training", "start_or_resume"]

CLASSES, SIZE = 3, (128, 96)


def sleep_as_training(seconds: float, notes: Path | None = None) -> Callable[[str], Answer]:
    """What does an order in so many seconds: the student is its architecture, and two small files."""

    def do(order: str) -> Answer:
        told = Order.model_validate_json(order)
        pending = parse_trial(told.trial)
        assert isinstance(pending, PendingTrial)
        if notes is not None:
            (notes / f"trial-{pending.number}.{time.time_ns()}.pid").write_text(str(os.getpid()))
        time.sleep(seconds)
        arch = base_arch("r18", SIZE)
        if told.parent is not None:
            parent = parse_trial(told.parent)
            assert isinstance(parent, DoneTrial)
            arch = parent.arch
        for action in pending.proposal.actions:
            arch = action.apply(arch, uniform_importance(arch)).child
        files = [f"{what} of trial {pending.number}".encode() for what in ("weights", "model")]
        weights, model = (hashlib.sha256(content).hexdigest() for content in files)
        made = DoneTrial(
            pending.number, pending.proposal, arch, 0.0, 0.0, count(arch, CLASSES), 1.0, 0.0, None,
            TrialFiles(weights, model), Work(1.0, seconds, (), (), {"train": seconds}),
        )  # fmt: skip
        return Answer(dump_trial(made), {weights: files[0], model: files[1]})

    return do


@dataclass
class Formula:
    """Judges in place of an `Evaluation`: a lease takes a while, and each student in it a little."""

    lease_s: float = 0.0
    each_s: float = 0.0
    trainer: Any = field(default_factory=lambda: SimpleNamespace(pool=None, teacher=None))
    exporter: Any = field(default_factory=lambda: SimpleNamespace(target=TargetSpec("cpu")))
    history: History = ()

    def with_history(self, history: History) -> Formula:
        return replace(self, history=history)

    def judge_all(self, made: Sequence[DoneTrial]) -> dict[int, DoneTrial]:
        time.sleep(self.lease_s + self.each_s * len(made))
        base = made[0] if made[0].number == 0 else get_done(self.history, 0)
        found = {}
        for trial in made:
            share = trial.counts.macs / base.counts.macs
            ap = 0.4 * share**0.1 * (1 + 0.05 * Random(trial.number).random())
            found[trial.number] = replace(trial, ap=ap, ap50=ap, cost_ratio=1 / share, score=ap / share**0.4)
        return found


def start_or_resume(folder: Path, trials: int, pool: Pool, at_once: int, judge: Formula) -> list[float]:
    """Search by these workers until so many students are done; the seconds that each waited to be measured."""
    from optimizer.workers.crew import Crew  # here, because it needs torch, and a worker does not

    config = smoke().changed({"search.cost": "macs", "search.teacher": "none", "search.trials": trials})
    there = (folder / "run" / DATABASE).is_file()
    with (
        RunStore.open(folder / "run")
        if there
        else RunStore.create(folder / "run", config.model_dump(mode="json")) as store
    ):
        (store.folder / "scratch").mkdir(exist_ok=True)
        crew = Crew(store, config, judge, pool, at_once)  # type: ignore[arg-type]
        if not any(isinstance(trial, DoneTrial) for trial in store.history()):
            store.record(PendingTrial(0, Proposal(None)))
            base = crew(0, Proposal(None))
            store.record(base)
            crew.waits.clear()
        settings = StrategySettings(space=config.search.space, trials=trials, num_classes=CLASSES)
        strategy = build_strategy("random", settings)
        why = search_at_once(Search(strategy, store.history, store.record, 1, trials, lambda: True), crew)
        assert why == f"all {trials} trials are done", why
        return crew.waits


def main(folder: Path, trials: int, at_once: int, seconds: float) -> None:
    from optimizer.workers.pool import open_ray

    share = Share(at_once, 1.0, 0.0)
    pool = Pool(open_ray("ray"), share, sleep_as_training(seconds, folder))
    start_or_resume(folder, trials, pool, at_once, Formula())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
