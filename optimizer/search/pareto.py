"""Which candidates no other one beats. Pure functions of numbers."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["hypervolume", "pareto_front"]


def pareto_front(gains: Sequence[float], costs: Sequence[float], epsilon: float = 0.0) -> list[int]:
    """Indices of the candidates on the front (more gain, less cost), cheapest first.

    A candidate is beaten by one that has at least its gain and costs less by more than the share `epsilon`, and by one
    that has more gain and costs no more. So a difference in cost that may be noise evicts nobody of equal gain. Of
    candidates with equal gain and equal cost the first stays.
    """
    assert len(gains) == len(costs)

    def beats(a: int, b: int) -> bool:
        cheaper = costs[a] < costs[b] * (1 - epsilon)
        no_dearer = costs[a] <= costs[b]
        if gains[a] >= gains[b] and cheaper:
            return True
        if gains[a] > gains[b] and no_dearer:
            return True
        return gains[a] == gains[b] and costs[a] == costs[b] and a < b

    indices = range(len(gains))
    front = [b for b in indices if not any(beats(a, b) for a in indices if a != b)]
    return sorted(front, key=lambda index: (costs[index], gains[index]))


def hypervolume(front: Sequence[tuple[float, float]], latency: float = 1.0) -> float:
    """The area that (AP, latency) points beat, above AP 0 and left of a latency."""
    area, best = 0.0, 0.0
    left = sorted((cost, ap) for ap, cost in front if cost < latency)
    for (cost, ap), following in zip(left, [*(cost for cost, _ in left[1:]), latency]):
        best = max(best, ap)
        area += best * (following - cost)
    return area
