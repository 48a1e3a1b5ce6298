"""A search with target `cuda`, from images to bundles, as short as one can be that trains, morphs and measures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from gpu_parts.day import Day
from optimizer import optimize
from optimizer.config import RunConfig
from optimizer.recipes import quick, scaled_sizes
from optimizer.search.base import DoneTrial, FailedTrial, Trial
from optimizer.store.run_store import RunStore

__all__ = ["describe", "make_config", "run"]

SIZE = (320, 240)


def make_config(day: Day, target: str = "cuda", workers: int = 8) -> RunConfig:
    """R18 at 320x240: the base for six epochs, two students of one epoch each, in the base's precision alone."""
    return quick(day.data).changed(
        {
            "target": target, "weights": None, "input_size": SIZE, "batch_size": 16, "workers": workers,
            "region_proposals": 200, "search.space.sizes": scaled_sizes(SIZE), "search.trials": 2,
            "search.teacher": "none", "search.finetuned": 0, "base_epochs": "fixed", "base_train.epochs": 6,
            "trial_train.epochs": 1,
            "search_protocol": "quick", "final_protocol": "quick", "variants.region_proposals": (),
            "variants.precisions": (), "shapes.train": 128, "shapes.val": 32,
        }
    )  # fmt: skip


def run(day: Day) -> dict[str, Any]:
    folder, began = day.scratch / "run", time.monotonic()
    result: dict[str, Any] = {"data": day.data.name if day.data else "generated shapes"}
    try:
        front = optimize(make_config(day), folder)
        result.update(front=front, seconds=round(time.monotonic() - began, 1))
    finally:
        result["trials"] = list_trials(folder) if folder.exists() else []
        day.keep(result)
    return result


def list_trials(folder: Any) -> list[dict[str, Any]]:
    """What the run's database has of each trial."""
    with RunStore.open(folder, writable=False) as store:
        return [describe_trial(trial) for trial in store.history()]


def describe_trial(trial: Trial) -> dict[str, Any]:
    """A trial's outcome, and how long each part of a finished one took."""
    found: dict[str, Any] = {"number": trial.number, "status": trial.status}
    if isinstance(trial, DoneTrial):
        found.update({name: getattr(trial, name) for name in ("ap", "ap50", "cost_ratio", "score")})
        found.update(seconds=trial.work.seconds, seconds_by_part=dict(trial.work.seconds_by_part))
    elif isinstance(trial, FailedTrial):
        found["error"] = trial.error
    return found


def describe(result: dict[str, Any]) -> Iterator[str]:
    yield f"On {result['data']}: {f'''ended after {result['seconds']} s''' if 'seconds' in result else 'did not end'}."
    for trial in result["trials"]:
        yield f"- trial {trial['number']}: " + ", ".join(f"{key} {value}" for key, value in trial.items())
    for student in result.get("front", {}).get("students", ()):
        yield f"- on the front: {student['name']}, AP {student['ap']}, latency {student['latency_ms']}"
