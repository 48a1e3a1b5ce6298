"""Random paths whose cost lies in an interval, however rare those are.

Paths drawn slot by slot cost about the mean: of OFA-ResNet50's, one in a thousand is in the bucket of the largest. So a
path that misses the interval walks: a random slot is drawn anew, and the move is kept unless it leads farther from the
interval. Within the interval every move is kept, which leaves paths there as likely as drawing until one fits would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer.path_filter.space import Cost, Floats, Genes, Mask, PathSpace, make_canonical

__all__ = ["Interval", "draw", "draw_freely", "walk"]

SWEEPS = 5  # moves of a walk, in slots
ROUNDS = 6  # populations that are drawn before the paths that are there have to do


@dataclass(frozen=True)
class Interval:
    """Costs from `low` on and below `high`."""

    low: float
    high: float

    def measure_distance(self, costs: Floats) -> Floats:
        """How far each cost is from the interval; 0 exactly within it."""
        above = np.where(costs >= self.high, np.maximum(costs - self.high, np.finfo(np.float64).tiny), 0.0)
        return above + np.maximum(self.low - costs, 0.0)


EVERYWHERE = Interval(-np.inf, np.inf)


def draw(
    space: PathSpace, cost: Cost, allowed: Mask, interval: Interval, count: int, rng: np.random.Generator
) -> Genes:
    """At most `count` random paths in an interval (paths, slots); fewer where they are too hard to find."""
    found = np.empty((0, allowed.shape[0]), dtype=np.int64)
    for _ in range(ROUNDS):
        if len(found) >= count:
            break
        genes = walk(space, cost, allowed, interval, draw_freely(allowed, count, rng), rng)
        found = np.concatenate([found, genes[interval.measure_distance(cost(genes)) == 0]])
    return found[:count]


def draw_freely(allowed: Mask, count: int, rng: np.random.Generator) -> Genes:
    """One allowed choice in each slot, all equally likely (count, slots); `allowed` may have one mask per path."""
    mask = np.broadcast_to(allowed, (count, *allowed.shape[-2:]))
    return _choose(mask, rng)


def walk(
    space: PathSpace, cost: Cost, allowed: Mask, interval: Interval, genes: Genes, rng: np.random.Generator
) -> Genes:
    """Canonical copies; those outside the interval have walked towards it, and may not have reached it.

    Args:
        genes: every one an allowed choice, also those of blocks that a path skips: on its way it may come to have them.
    """

    def measure(genes: Genes) -> Floats:
        return interval.measure_distance(cost(make_canonical(space, genes)))

    walked, distances = genes.copy(), measure(genes)
    outside = np.flatnonzero(distances > 0)
    masks = np.broadcast_to(allowed, (len(genes), *allowed.shape[-2:]))[outside]
    path, distance, rows = genes[outside], distances[outside], np.arange(len(outside))
    for _ in range(SWEEPS * genes.shape[1] if len(outside) else 0):
        slot = rng.integers(genes.shape[1], size=len(outside))
        moved = path.copy()
        moved[rows, slot] = _choose(masks[rows, slot], rng)
        new = measure(moved)
        kept = new <= distance
        path[kept], distance[kept] = moved[kept], new[kept]
    walked[outside] = path
    return make_canonical(space, walked)


def _choose(masks: Mask, rng: np.random.Generator) -> NDArray[np.int64]:
    """The index of a true entry along the last axis, all equally likely."""
    return np.argmax(masks * (1.0 - rng.random(masks.shape)), axis=-1).astype(np.int64)
