"""Once-for-all's evolution for many limits at once, ranked by a filter (FACTS 4.4; DetOFA 3.3).

Two faults of the published code are not repeated: children are bred until they fit without an end, and those of the
last generation are never ranked. A filter's scores order the paths of one bucket; so those of a limit are bred in the
limit's bucket, where the paper takes the best score of all buckets below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer.errors import InputError
from optimizer.path_filter.buckets import Buckets
from optimizer.path_filter.drawing import Interval, draw, draw_freely, reach
from optimizer.path_filter.pruned_space import PrunedSpace
from optimizer.path_filter.space import Floats, Genes, Mask, Score, find_layer_slots, make_canonical

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
        scores, costs: of each (paths,).
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
) -> tuple[Found, ...]:
    """The best paths for each limit.

    Args:
        limits: the most that a path may cost.
        pruned: operations outside it are not used; its thresholds play no part.
        by_bucket: breed the paths of a limit in its bucket, or in the next below that has any within the limit. False
            is the paper's way, which compares scores of all buckets, and takes operations of the whole space.

    Raises:
        InputError: no path is within a limit.
    """
    score = _Remembered(score)
    islands = [_Island.settle(buckets, limit, rng, breeding, pruned, by_bucket) for limit in limits]
    _rank_all(islands, [island.genes for island in islands], score)
    for _ in range(breeding.generations):
        _rank_all(islands, [island.breed(rng) for island in islands], score)
    return tuple(island.report() for island in islands)


class _Remembered:
    """A score that is asked for each path once: the children of parents that are alike often are known."""

    def __init__(self, score: Score) -> None:
        self.score = score
        self.known: dict[bytes, float] = {}

    def __call__(self, genes: Genes) -> Floats:
        keys = [path.tobytes() for path in genes]
        new = {key: row for row, key in enumerate(keys) if key not in self.known}
        if new:
            rows = np.array([*new.values()])
            self.known.update(zip(new, map(float, self.score(genes[rows])), strict=True))
        return np.array([self.known[key] for key in keys])


def _rank_all(islands: Sequence[_Island], newcomers: Sequence[Genes], score: Score) -> None:
    """Score the newcomers of all islands in one batch, and keep the best of each."""
    scores = score(np.concatenate([*newcomers]))
    ends = np.cumsum([len(genes) for genes in newcomers])
    for island, genes, own in zip(islands, newcomers, np.split(scores, ends[:-1]), strict=True):
        island.join(genes, own)


class _Island:
    """The population of one limit: once ranked, its parents, the best first."""

    def __init__(
        self, buckets: Buckets, limit: float, interval: Interval, allowed: Mask, genes: Genes, breeding: Breeding
    ) -> None:
        self.buckets, self.limit, self.interval, self.allowed = buckets, limit, interval, allowed
        self.genes, self.breeding = genes, breeding
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
    ) -> _Island:
        """With the first population, drawn at random."""
        space, below = buckets.space, np.nextafter(limit, np.inf)
        left = pruned or PrunedSpace.whole(buckets)
        own = int(buckets.find_of_costs(np.array([limit]))[0])
        for bucket in range(own, -1, -1) if by_bucket else (None,):
            interval = Interval(-np.inf, below)
            allowed = PrunedSpace.whole(buckets).mask(0)
            if bucket is not None:
                within = buckets.interval(bucket)
                interval, allowed = Interval(within.low, min(below, within.high)), left.mask(bucket)
            genes = draw(space, buckets.cost, allowed, interval, breeding.population, rng)
            if len(genes):
                return cls(buckets, limit, interval, allowed, genes, breeding)
        raise InputError(
            f"no path costs at most {limit:.4g}: the smallest one costs {buckets.edges[0]:.4g}; raise the limit"
        )

    def breed(self, rng: np.random.Generator) -> Genes:
        """Children within the interval, half of them mutants (paths, slots)."""
        count = self.breeding.population
        children = self._mate(count, rng)
        for _ in range(TRIES):
            outside = np.flatnonzero(self._measure(children) > 0)
            if not len(outside):
                break
            children[outside] = self._mate(len(outside), rng)
        children = reach(self.buckets.cost, self.allowed, self.interval, children, rng)
        return make_canonical(self.buckets.space, children[self._measure(children) == 0])

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
        own, skipped = find_layer_slots(self.buckets.space), self.buckets.space.tokens(flat) == 0
        flat[:, own] = np.where(skipped, draw_freely(self.allowed, len(flat), rng)[:, own], flat[:, own])
        return flat.reshape(genes.shape)

    def _measure(self, genes: Genes) -> NDArray[np.float64]:
        return self.interval.measure_distance(self.buckets.cost(genes))

    def join(self, genes: Genes, scores: Floats) -> None:
        """Rank newcomers with the parents; the best, each once, are the parents now."""
        ranked = np.isfinite(self.scores)
        pool, values = np.concatenate([self.genes[ranked], genes]), np.concatenate([self.scores[ranked], scores])
        _, first = np.unique(pool, axis=0, return_index=True)
        best = first[np.argsort(-values[first], kind="stable")][: self.breeding.parents]
        self.genes, self.scores = pool[best], values[best]
        self.history.append(float(self.scores[0]))

    def report(self) -> Found:
        return Found(
            self.limit, self.genes, self.scores, self.buckets.cost(self.genes).astype(np.float64), tuple(self.history)
        )
