"""Random paths whose cost lies in an interval, however rare those are.

Paths drawn slot by slot cost about the mean: of 400,000 of OFA-ResNet50's, none was in the bucket of the largest. So a
path that misses the interval walks: a random slot is drawn anew, and the move is kept unless it leads farther from the
interval. Once there, it makes every move that stays within, which leaves all paths there as likely as drawing until one
fits would. In between, a block that a path skips has a gene as well: the path may come to run it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from optimizer.path_filter.space import Cost, Floats, Genes, Mask, PathSpace, make_canonical

__all__ = ["EVERYWHERE", "Interval", "Region", "draw", "draw_freely", "mix", "reach"]

REACH, MIX = 4, 3  # moves towards an interval, and within it, per slot
LEAST, ROUNDS = 32, 4  # paths of a population, and populations of which none arrives before an interval is called empty


class Region(Protocol):
    """Where paths are to be, by whatever a cost says of each of them."""

    def measure_distance(self, costs: Floats) -> Floats:
        """How far each path is from there (paths,); 0 exactly within it."""
        ...


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


def draw(space: PathSpace, cost: Cost, allowed: Mask, interval: Region, count: int, rng: np.random.Generator) -> Genes:
    """Random paths in an interval (count, slots); none at all where none was found.

    Those that do not arrive are replaced by copies of those that do, which walk on from there.
    """
    for _ in range(ROUNDS):
        free = draw_freely(allowed, max(count, LEAST), rng)
        walked = interval.measure_distance(cost(free)) > 0
        genes = reach(cost, allowed, interval, free, rng)
        missing = interval.measure_distance(cost(genes)) > 0
        if not missing.all():
            genes[missing] = genes[rng.choice(np.flatnonzero(~missing), size=missing.sum())]
            genes[walked] = mix(cost, allowed, interval, genes[walked], rng)
            return make_canonical(space, genes[:count])
    return np.empty((0, allowed.shape[0]), dtype=np.int64)


def draw_freely(allowed: Mask, count: int, rng: np.random.Generator) -> Genes:
    """One allowed choice in each slot, all equally likely (count, slots); `allowed` may have one mask per path."""
    mask = np.broadcast_to(allowed, (count, *allowed.shape[-2:]))
    return _choose(mask, rng)


def reach(cost: Cost, allowed: Mask, interval: Region, genes: Genes, rng: np.random.Generator) -> Genes:
    """Copies of paths that have walked towards an interval until they were there; some may not have arrived.

    Args:
        genes: allowed choices alone, also for blocks that a path skips.
    """
    genes, masks = genes.copy(), np.broadcast_to(allowed, (len(genes), *allowed.shape[-2:]))
    distances = interval.measure_distance(cost(genes))
    for _ in range(REACH * genes.shape[1]):
        outside = np.flatnonzero(distances > 0)
        if not len(outside):
            break
        moved = _move(genes[outside], masks[outside], rng)
        new = interval.measure_distance(cost(moved))
        kept = new <= distances[outside]
        genes[outside[kept]], distances[outside[kept]] = moved[kept], new[kept]
    return genes


def mix(cost: Cost, allowed: Mask, interval: Region, genes: Genes, rng: np.random.Generator) -> Genes:
    """Copies of paths of an interval that have walked about in it; arguments as of `reach`."""
    genes, masks = genes.copy(), np.broadcast_to(allowed, (len(genes), *allowed.shape[-2:]))
    for _ in range(MIX * genes.shape[1] if len(genes) else 0):
        moved = _move(genes, masks, rng)
        kept = interval.measure_distance(cost(moved)) == 0
        genes[kept] = moved[kept]
    return genes


def _move(genes: Genes, masks: Mask, rng: np.random.Generator) -> Genes:
    """Copies with one random slot of each path drawn anew."""
    rows, slots = np.arange(len(genes)), rng.integers(genes.shape[1], size=len(genes))
    moved = genes.copy()
    moved[rows, slots] = _choose(masks[rows, slots], rng)
    return moved


def _choose(masks: Mask, rng: np.random.Generator) -> NDArray[np.int64]:
    """The index of a true entry along the last axis, all equally likely."""
    return np.argmax(masks * (1.0 - rng.random(masks.shape)), axis=-1).astype(np.int64)
