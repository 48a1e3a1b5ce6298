"""Once-for-all's evolution for many limits at once, ranked by a filter (FACTS 4.4; DetOFA 3.3).

Two faults of the published code are not repeated: children are bred until they fit without an end, and those of the
last generation are never ranked. A filter's scores order the paths of one bucket; so those of a limit are bred in the
limit's bucket, where the paper takes the best score of all buckets below. A limit may be of something else than the
buckets, such as latency on a target; then it is the dearest bucket that has paths within the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer.errors import InputError
from optimizer.path_filter.buckets import Buckets
from optimizer.path_filter.drawing import Interval, Region, draw, draw_freely, reach
from optimizer.path_filter.pruned_space import PrunedSpace
from optimizer.path_filter.space import (
    Cost,
    Floats,
    Genes,
    Mask,
    PathSpace,
    Score,
    find_ends,
    find_layer_slots,
    make_canonical,
)

__all__ = ["PAPER", "Breeding", "Found", "evolve"]

TRIES = 10  # times that children who do not fit are bred anew before they walk into the interval


@dataclass(frozen=True)
class Breeding:
    """What a generation is made of; the defaults are once-for-all's.

    Attributes:
        population: paths of the first generation, and children of each later one.
        generations: how often children are bred.
        parents: how many of the best of parents and children have children.
        mutants: share of children that are mutants of one parent; the others take each gene from one of two.
        rate: probability that a mutant's gene is drawn anew.
    """

    population: int = 100
    generations: int = 500
    parents: int = 25
    mutants: float = 0.5
    rate: float = 0.1


PAPER = Breeding()


@dataclass(frozen=True)
class Found:
    """The best paths within one limit.

    Attributes:
        genes: the best first (paths, slots); all different.
        scores, costs: of each (paths,); costs are what the limit is of.
        history: the best score before the first generation and after each.
    """

    limit: float
    genes: Genes
    scores: Floats
    costs: Floats
    history: tuple[float, ...]


def evolve(
    buckets: Buckets,
    score: Score,
    limits: Sequence[float],
    rng: np.random.Generator,
    breeding: Breeding = PAPER,
    pruned: PrunedSpace | None = None,
    by_bucket: bool = True,
    price: Cost | None = None,
) -> tuple[Found, ...]:
    """The best paths for each limit.

    Args:
        limits: the most that a path may cost.
        pruned: operations outside it are used only where no other path is within a limit; its thresholds play no part.
        by_bucket: breed the paths of a limit in its bucket, or in the next below that has any within the limit. False
            is the paper's way, which compares scores of all buckets, and takes operations of the whole space.
        price: what limits are of, where that is not the buckets' cost; of paths that nothing else is known of.

    Raises:
        InputError: no path is within a limit.
    """
    score = _Remembered(score)
    price = None if price is None else _Remembered(price)
    islands = [_Island.settle(buckets, limit, rng, breeding, pruned, by_bucket, price) for limit in limits]
    _rank_all(islands, [island.genes for island in islands], score)
    for _ in range(breeding.generations):
        _rank_all(islands, [island.breed(rng) for island in islands], score)
    return tuple(island.report() for island in islands)


class _Remembered:
    """A score or price that is asked for each path once: the children of parents that are alike often are known."""

    def __init__(self, measure: Callable[[Genes], Floats]) -> None:
        self.measure = measure
        self.known: dict[bytes, float] = {}

    def __call__(self, genes: Genes) -> Floats:
        keys = [path.tobytes() for path in genes]
        new = {key: row for row, key in enumerate(keys) if key not in self.known}
        if new:
            rows = np.array([*new.values()])
            self.known.update(zip(new, map(float, self.measure(genes[rows])), strict=True))
        return np.array([self.known[key] for key in keys])


def _rank_all(islands: Sequence[_Island], newcomers: Sequence[Genes], score: Score) -> None:
    """Score the newcomers of all islands in one batch, and keep the best of each."""
    scores = score(np.concatenate([*newcomers]))
    ends = np.cumsum([len(genes) for genes in newcomers])
    for island, genes, own in zip(islands, newcomers, np.split(scores, ends[:-1]), strict=True):
        island.join(genes, own)


@dataclass(frozen=True)
class _Affordable:
    """The costs of an interval whose prices are within a limit; measures pairs of a cost and a price (paths, 2).

    Attributes:
        scale: costs that count as far as a price of twice the limit.
    """

    interval: Interval
    limit: float
    scale: float

    def measure_distance(self, pairs: Floats) -> Floats:
        costs, prices = pairs.T
        return self.interval.measure_distance(costs) + np.maximum(prices / self.limit - 1, 0) * self.scale


class _Island:
    """The population of one limit: once ranked, its parents, the best first.

    Attributes:
        price: what the limit is of. cost, region: where paths are allowed to be, for `reach`.
    """

    def __init__(
        self, space: PathSpace, limit: float, price: Cost, cost: Cost, region: Region, allowed: Mask, genes: Genes,
        breeding: Breeding,
    ) -> None:  # fmt: skip
        self.space, self.limit, self.price, self.cost, self.region = space, limit, price, cost, region
        self.allowed, self.genes, self.breeding = allowed, genes, breeding
        self.scores: Floats = np.full(len(genes), -np.inf)
        self.history: list[float] = []

    @classmethod
    def settle(
        cls,
        buckets: Buckets,
        limit: float,
        rng: np.random.Generator,
        breeding: Breeding,
        pruned: PrunedSpace | None,
        by_bucket: bool,
        price: Cost | None,
    ) -> _Island:
        """With the first population, drawn at random."""
        cost = buckets.cost if price is None else _pair(buckets.cost, price)
        least = float((price or buckets.cost)(find_ends(buckets.space)[:1])[0])
        for interval, allowed in _list_grounds(buckets, limit, pruned, by_bucket, price) if least <= limit else ():
            region: Region = interval if price is None else _Affordable(interval, limit, buckets.edges[-1])
            genes = draw(buckets.space, cost, allowed, region, breeding.population, rng)
            if len(genes):
                return cls(buckets.space, limit, price or buckets.cost, cost, region, allowed, genes, breeding)
        raise InputError(f"no path costs at most {limit:.4g}: the smallest one costs {least:.4g}; raise the limit")

    def breed(self, rng: np.random.Generator) -> Genes:
        """Children within the interval, half of them mutants (paths, slots)."""
        count = self.breeding.population
        children = self._mate(count, rng)
        for _ in range(TRIES):
            outside = np.flatnonzero(self._measure(children) > 0)
            if not len(outside):
                break
            children[outside] = self._mate(len(outside), rng)
        children = reach(self.cost, self.allowed, self.region, children, rng)
        return make_canonical(self.space, children[self._measure(children) == 0])

    def _mate(self, count: int, rng: np.random.Generator) -> Genes:
        """Mutants or children of two, whether they fit or not; both are allowed operations alone."""
        parents = self._fill(self.genes[rng.integers(len(self.genes), size=(2, count))], rng)
        anew = draw_freely(self.allowed, count, rng)
        mutated = np.where(rng.random(anew.shape) < self.breeding.rate, anew, parents[0])
        crossed = np.where(rng.random(anew.shape) < 0.5, parents[0], parents[1])
        mutants = rng.random(count) < self.breeding.mutants
        children: Genes = np.where(mutants[:, None], mutated, crossed)
        return children

    def _fill(self, genes: Genes, rng: np.random.Generator) -> Genes:
        """With random choices for the blocks a path does not run, which a child of it may."""
        flat = genes.reshape(-1, genes.shape[-1]).copy()
        own, skipped = find_layer_slots(self.space), self.space.tokens(flat) == 0
        flat[:, own] = np.where(skipped, draw_freely(self.allowed, len(flat), rng)[:, own], flat[:, own])
        return flat.reshape(genes.shape)

    def _measure(self, genes: Genes) -> NDArray[np.float64]:
        return self.region.measure_distance(self.cost(genes))

    def join(self, genes: Genes, scores: Floats) -> None:
        """Rank newcomers with the parents; the best, each once, are the parents now."""
        ranked = np.isfinite(self.scores)
        pool, values = np.concatenate([self.genes[ranked], genes]), np.concatenate([self.scores[ranked], scores])
        _, first = np.unique(pool, axis=0, return_index=True)
        best = first[np.argsort(-values[first], kind="stable")][: self.breeding.parents]
        self.genes, self.scores = pool[best], values[best]
        self.history.append(float(self.scores[0]))

    def report(self) -> Found:
        costs = self.price(self.genes).astype(np.float64)
        return Found(self.limit, self.genes, self.scores, costs, tuple(self.history))


def _list_grounds(
    buckets: Buckets, limit: float, pruned: PrunedSpace | None, by_bucket: bool, price: Cost | None
) -> Iterator[tuple[Interval, Mask]]:
    """Costs that paths within a limit may have, and what is allowed there; what is to be tried first, first."""
    whole, below = PrunedSpace.whole(buckets), float(np.nextafter(limit, np.inf)) if price is None else np.inf
    if not by_bucket:
        yield Interval(-np.inf, below), whole.mask(0)
        return
    own = buckets.count - 1 if price is not None else int(buckets.find_of_costs(np.array([limit]))[0])
    for left in (whole,) if pruned is None else (pruned, whole):
        for bucket in range(own, -1, -1):
            within = buckets.interval(bucket)
            yield Interval(within.low, min(below, within.high)), left.mask(bucket)


def _pair(cost: Cost, price: Cost) -> Cost:
    return lambda genes: np.stack([cost(genes), price(genes)], axis=1)
