"""Search strategies and the loop that runs them."""

from __future__ import annotations

from collections.abc import Callable

from optimizer.arch.space import Space
from optimizer.search.base import SearchStrategy
from optimizer.search.hill_climb import HillClimb
from optimizer.search.loop import search
from optimizer.search.random_search import RandomSearch

__all__ = ["STRATEGIES", "build_strategy", "search"]

STRATEGIES: dict[str, Callable[[Space, int, int], SearchStrategy]] = {
    "joint": lambda space, top_k, fixed_trials: HillClimb(space, tuple(range(top_k, 0, -1)), fixed_trials),
    "random": lambda space, top_k, fixed_trials: RandomSearch(space),
}


def build_strategy(method: str, space: Space, top_k: int, fixed_trials: int) -> SearchStrategy:
    """The strategy of a run; what a method has no use for it leaves aside."""
    return STRATEGIES[method](space, top_k, fixed_trials)
