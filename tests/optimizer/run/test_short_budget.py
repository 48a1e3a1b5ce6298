"""A budget with time for one training of each student: nobody is trained by the search."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_trials import make_done
from rich.console import Console

from optimizer.progress import RunProgress
from optimizer.recipes import quick
from optimizer.run.finetune import trains_at_end_only
from optimizer.run.run import _Run
from optimizer.run.tracking import Tracking
from optimizer.store.run_store import RunStore


@pytest.mark.parametrize(("rounds", "is_searched"), [(3, False), (4, True)])
def test_the_search_is_left_out_and_the_run_says_so(tmp_path: Path, rounds: int, is_searched: bool) -> None:
    config = quick().changed({"budget_s": 600.0})
    said = io.StringIO()
    trainer = SimpleNamespace(teacher=None)
    evaluation: Any = SimpleNamespace(trainer=trainer)
    plan: Any = SimpleNamespace(count_rounds=lambda elapsed_s: rounds, has_time_for_trial=lambda elapsed_s, past: False)
    splits: Any = SimpleNamespace(train=SimpleNamespace(class_names=("cat", "dog")))
    with RunStore.create(tmp_path / "run", config.model_dump(mode="json")) as store:
        store.record(make_done())
        store.probes = []
        progress = RunProgress(Console(file=said, width=200))
        run = _Run(store, config, splits, progress, lambda: 100.0, plan, Tracking(store, config, ()))
        run.search_students(evaluation, None)
        assert store.rounds == rounds and len(store.history()) == 1
        assert store.search_ended is not None
        assert ("time is used up" in store.search_ended) is is_searched
        assert ("chosen untrained" in said.getvalue()) is not is_searched


@pytest.mark.parametrize(
    ("changes", "rounds", "is_short"),
    [
        ({}, 1, True), ({}, 3, True), ({}, 4, False), ({"search.finetuned": 2}, 3, False),
        ({"budget_s": None}, 1, False), ({"search.screened": 0}, 1, False),
        ({"search.finetuned": 0}, 1, False), ({"search.trials": 0}, 1, False), ({"search.trials": 1}, 1, False),
        ({"search.method": "joint"}, 1, False),
    ],
)  # fmt: skip
def test_a_budget_for_few_rounds_goes_to_the_last_training(
    changes: dict[str, object], rounds: int, is_short: bool
) -> None:
    config = quick().changed({"budget_s": 600.0, **changes})
    assert trains_at_end_only(config, rounds) is is_short
