"""A run over its time: when the front grew, and what the seconds went into. Pure functions of the history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from optimizer.search.base import DoneTrial, History, ScreenedTrial, list_done, list_screened
from optimizer.search.pareto import hypervolume

__all__ = ["PARTS", "Moment", "find_learning_share", "split_time", "trace_growth"]

PARTS = {
    "train": "training",
    "screen": "screening",
    "measure": "measuring",
    "export": "export",
    "evaluate": "AP",
    "build": "building students",
}
NOISE = 1e-9  # what sums of the same areas may differ by


@dataclass(frozen=True)
class Moment:
    """The front after a trial.

    Attributes:
        seconds: of all trials up to this one, the base and screenings included; failed ones have none on record.
        volume: hypervolume of (AP, cost as a share of the base's), above AP 0 and left of the base's cost.
        trial: whose end this is; `raised` is whether it raised the hypervolume.
    """

    seconds: float
    volume: float
    trial: DoneTrial | ScreenedTrial
    raised: bool


def trace_growth(history: History) -> list[Moment]:
    """The base, every trial that raised the hypervolume, and the last trial; empty before the base is trained.

    Costs are those that the search saw, so that the past does not change when something is measured again.
    """
    moments: list[Moment] = []
    front: list[tuple[float, float]] = []
    seconds, volume = 0.0, 0.0
    evaluated = [trial for trial in history if isinstance(trial, (DoneTrial, ScreenedTrial))]
    for trial in evaluated:
        seconds += _count_seconds(trial)
        raised = False
        if isinstance(trial, DoneTrial):
            point = (trial.ap, 1 / trial.cost_ratio)
            grown = hypervolume([*front, point])
            if raised := grown > volume + NOISE:
                front.append(point)
                volume = grown
        if raised or trial is evaluated[0] or trial is evaluated[-1]:
            moments.append(Moment(seconds, volume, trial, raised))
    return moments


def split_time(history: History, elapsed_seconds: float, *, own_base: bool = True) -> dict[str, float]:
    """Seconds of a run by what they went into, in the order of `PARTS`, then "other"; what took none is left out.

    Empty where no part is on record. Their sum is `elapsed_seconds`, except where the trials alone took longer.

    Args:
        elapsed_seconds: of the whole run.
        own_base: whether the run trained its base itself; the time of one that was taken over is another run's.
    """
    spent: dict[str, float] = defaultdict(float)
    for trial in list_done(history):
        if trial.number or own_base:
            for name, seconds in trial.work.seconds_by_part.items():
                spent[name] += seconds
    spent["screen"] += sum(trial.seconds for trial in list_screened(history))
    parts = {label: spent[name] for name, label in PARTS.items() if spent[name] > 0}
    rest = elapsed_seconds - sum(parts.values())
    return {**parts, "other": rest} if parts and rest > 0 else parts


def find_learning_share(parts: Mapping[str, float]) -> float:
    """Training and screening as a share of all the time; the rest is the price of knowing what came of it."""
    return (parts.get("training", 0.0) + parts.get("screening", 0.0)) / sum(parts.values())


def _count_seconds(trial: DoneTrial | ScreenedTrial) -> float:
    return trial.work.seconds if isinstance(trial, DoneTrial) else trial.seconds
