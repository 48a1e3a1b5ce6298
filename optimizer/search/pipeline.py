"""Search, then prune, then distil, one after the other: the order that Joint-DetNAS compares itself with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from optimizer.arch.actions import ACTIONS
from optimizer.arch.space import Space
from optimizer.search.base import History, Proposal, SpaceExhausted
from optimizer.search.hill_climb import HillClimb, rank_best
from optimizer.search.teachers import Teachers

__all__ = ["Pipeline"]


@dataclass(frozen=True)
class Pipeline:
    """A third of the trials each: architecture moves without pruning, then pruning alone, then distillation alone.

    How the paper divides its pipeline is in no text available: thirds are a reconstruction. A part in which nothing
    legal is left gives its trials to the next.

    Attributes:
        trials: of the whole search, which the thirds are taken of.
        teachers: of the last part, in which the largest teaches; None trains on without.
    """

    space: Space
    trials: int
    rank_weights: tuple[float, ...] = (5, 4, 3, 2, 1)
    teachers: Teachers | None = None
    max_actions: int = 1

    def ask(self, history: History, rng: Random) -> Proposal:
        number = len(history)
        searched = tuple(kind for kind in self.space.actions if not ACTIONS[kind].prunes)
        pruned = tuple(kind for kind in self.space.actions if ACTIONS[kind].prunes)
        for last, actions, name in ((self.trials / 3, searched, "search"), (2 * self.trials / 3, pruned, "prune")):
            if number <= last and actions:
                climb = HillClimb(replace(self.space, actions=actions), self.rank_weights, max_actions=self.max_actions)
                try:
                    return replace(climb.ask(history, rng), note=f"pipeline: {name}")
                except SpaceExhausted:
                    continue
        teacher = self.teachers.pool.largest() if self.teachers is not None else None
        return Proposal(rank_best(history, 1)[0].number, (), "pipeline: distil", teacher=teacher)
