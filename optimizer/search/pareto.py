"""Which candidates no other one beats. Pure functions of numbers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import inf

from optimizer.errors import InputError

__all__ = ["hypervolume", "hypervolume_of_many", "pareto_front"]


def pareto_front(
    gains: Sequence[float], costs: Sequence[float] | Sequence[tuple[float, ...]], epsilon: float = 0.0
) -> list[int]:
    """Indices of the candidates on the front (more gain, less cost), cheapest first.

    A candidate is beaten by one that has at least its gain and costs less by more than the share `epsilon`, and by one
    that has more gain and costs no more. So a difference in cost that may be noise evicts nobody of equal gain. Of
    candidates with equal gain and equal cost the first stays. Where a candidate has several costs, one that beats it
    costs no more by any of them, and less by one where their gains are equal; cheapest is by the first.
    """
    assert len(gains) == len(costs)
    if any(isinstance(cost, tuple) for cost in costs):
        return _compare_pairs(gains, [cost if isinstance(cost, tuple) else (cost,) for cost in costs], epsilon)
    return _sort(gains, [float(cost) for cost in costs if not isinstance(cost, tuple)], epsilon)


def _compare_pairs(gains: Sequence[float], rows: Sequence[tuple[float, ...]], epsilon: float) -> list[int]:
    def beats(a: int, b: int) -> bool:
        pairs = list(zip(rows[a], rows[b], strict=True))
        if gains[a] < gains[b] or any(own > other for own, other in pairs):
            return False
        cheaper = any(own < other * (1 - epsilon) for own, other in pairs)
        return cheaper or gains[a] > gains[b] or (rows[a] == rows[b] and a < b)

    indices = range(len(gains))
    front = [b for b in indices if not any(beats(a, b) for a in indices if a != b)]
    return sorted(front, key=lambda index: (rows[index], gains[index]))


def _sort(gains: Sequence[float], costs: Sequence[float], epsilon: float) -> list[int]:
    """The same of one cost each, in a time that many candidates can bear."""
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


def hypervolume_of_many(points: Sequence[tuple[float, ...]]) -> float:
    """The same of points with one AP and several costs, all of them below 1 to count: by the library moocore.

    Raises:
        InputError: moocore is not installed.
    """
    try:
        import moocore
    except ImportError as error:
        raise InputError(f"it takes moocore ({error}): python3 -m pip install 'detopt[targets]'") from error
    least = [(-ap, *costs) for ap, *costs in points]  # it wants less of everything
    return float(moocore.hypervolume(least, ref=[0.0, *[1.0] * (len(points[0]) - 1)])) if points else 0.0
