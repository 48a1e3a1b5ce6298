"""Which candidates no other one beats. Pure functions of numbers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import inf

__all__ = ["hypervolume", "pareto_front"]


def pareto_front(gains: Sequence[float], costs: Sequence[float], epsilon: float = 0.0) -> list[int]:
    """Indices of the candidates on the front (more gain, less cost), cheapest first.

    A candidate is beaten by one that has at least its gain and costs less by more than the share `epsilon`, and by one
    that has more gain and costs no more. So a difference in cost that may be noise evicts nobody of equal gain. Of
    candidates with equal gain and equal cost the first stays.
    """
    assert len(gains) == len(costs)
    cheapest_first = sorted(range(len(gains)), key=lambda index: costs[index])
    sorted_costs = [costs[index] for index in cheapest_first]
    best = [-inf, *accumulate((gains[index] for index in cheapest_first), max)]  # of so many of the cheapest
    first: dict[tuple[float, float], int] = {}
    for index, point in enumerate(zip(gains, costs)):
        first.setdefault(point, index)

    def is_beaten(index: int) -> bool:
        gain, cost = gains[index], costs[index]
        by_cheaper = best[bisect_left(sorted_costs, cost * (1 - epsilon))] >= gain
        by_no_dearer = best[bisect_right(sorted_costs, cost)] > gain
        return by_cheaper or by_no_dearer or first[gain, cost] != index

    front = [index for index in range(len(gains)) if not is_beaten(index)]
    return sorted(front, key=lambda index: (costs[index], gains[index]))


def hypervolume(front: Sequence[tuple[float, float]], latency: float = 1.0) -> float:
    """The area that (AP, latency) points beat, above AP 0 and left of a latency."""
    area, best = 0.0, 0.0
    left = sorted((cost, ap) for ap, cost in front if cost < latency)
    for (cost, ap), following in zip(left, [*(cost for cost, _ in left[1:]), latency]):
        best = max(best, ap)
        area += best * (following - cost)
    return area
