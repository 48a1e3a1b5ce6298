"""The front as a search sees it: one member per architecture, its latency pooled over all that measured it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import geometric_mean

from optimizer.arch.spec import ArchSpec
from optimizer.search.base import DoneTrial, History, list_done
from optimizer.search.pareto import hypervolume, pareto_front

__all__ = ["Member", "count_rungs", "list_members", "select_last", "select_points"]


@dataclass(frozen=True)
class Member:
    """A trained student, or the base.

    Attributes:
        latency: as a share of the base's, the mean of what was measured for this architecture.
        rung: trainings of this very architecture so far, the base's not counted.
    """

    trial: DoneTrial
    latency: float
    rung: int

    @property
    def point(self) -> tuple[float, float]:
        """(AP, latency), as `hypervolume` wants it."""
        return self.trial.ap, self.latency


def list_members(history: History) -> list[Member]:
    """The front of what can be a parent, fastest first; the base is the last where nothing beats it."""
    done = list_done(history)
    measured: dict[ArchSpec, list[float]] = defaultdict(list)
    for trial in done:
        measured[trial.arch].append(1 / trial.cost_ratio)
    rungs = count_rungs(done)
    there = [trial for trial in done if not trial.files.dropped]
    members = [Member(trial, geometric_mean(measured[trial.arch]), rungs[trial.number]) for trial in there]
    chosen = pareto_front([member.trial.ap for member in members], [member.latency for member in members])
    return [members[index] for index in chosen]


def count_rungs(history: History) -> dict[int, int]:
    """Trainings of each trained trial's very architecture up to and with it, by number; the base's not counted."""
    rungs: dict[int, int] = {}
    for trial in list_done(history):
        before = 0 if trial.proposal.parent is None or trial.proposal.actions else rungs[trial.proposal.parent]
        rungs[trial.number] = before + (trial.number != 0)
    return rungs


def select_last(front: Sequence[DoneTrial], count: int) -> list[DoneTrial]:
    """Whom the last training is for: `count` of these students or fewer, fastest first.

    One after the other, whichever adds most to the hypervolume of those chosen before; so they are spread over the
    front. One that is no faster than the base adds nothing, and is not chosen.
    """
    students = sorted(front, key=lambda trial: trial.number)
    return [students[index] for index in select_points([(trial.ap, 1 / trial.cost_ratio) for trial in students], count)]


def select_points(points: Sequence[tuple[float, float]], count: int) -> list[int]:
    """`select_last` of (AP, latency) alone: numbers of the points chosen, fastest first; of equals the first."""
    chosen: list[int] = []
    while len(chosen) < min(count, len(points)):
        before = hypervolume([points[index] for index in chosen])
        gains = [hypervolume([points[index] for index in (*chosen, other)]) - before for other in range(len(points))]
        if max(gains) <= 0:
            break
        chosen.append(gains.index(max(gains)))
    return sorted(chosen, key=lambda index: points[index][1])
