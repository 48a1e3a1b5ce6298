"""Buckets of paths that cost about the same; scores are only compared within one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.errors import InputError
from optimizer.path_filter.drawing import Interval, draw
from optimizer.path_filter.space import Cost, Floats, Genes, Mask, PathSpace, find_ends, list_choices

__all__ = ["BUCKETS", "Buckets"]

BUCKETS = 5


@dataclass(frozen=True)
class Buckets:
    """Bins of equal width between the cost of the smallest and of the largest path (FACTS 4.8, item 6).

    They are made once, of the whole space, and stay as they are while it is pruned: the filter reads their numbers.

    Attributes:
        cost: multiply-accumulates, or the latency on a target, or whatever a limit is set on.
        edges: ascending, one more than there are buckets. Whatever costs less than the first, or more than the last, is
            in the bucket at that end.
    """

    space: PathSpace
    cost: Cost
    edges: tuple[float, ...]

    @classmethod
    def between_ends(cls, space: PathSpace, cost: Cost | None = None, count: int = BUCKETS) -> Buckets:
        """Buckets between the smallest and the largest path.

        Args:
            cost: the space's own where it is None.

        Raises:
            InputError: the largest path does not cost more than the smallest.
        """
        cost = cost or space.cost
        least, most = cost(find_ends(space))
        if not (np.isfinite([least, most]).all() and least < most):
            raise InputError(
                f"paths cannot be told apart by cost: the smallest costs {least:.4g}, the largest {most:.4g}; "
                "choose another cost, or a space with more choices"
            )
        return cls(space, cost, tuple(float(edge) for edge in np.linspace(least, most, count + 1)))

    @property
    def count(self) -> int:
        return len(self.edges) - 1

    def find(self, genes: Genes) -> NDArray[np.int64]:
        """The number of each path's bucket (paths,)."""
        return self.find_of_costs(self.cost(genes))

    def find_of_costs(self, costs: Floats) -> NDArray[np.int64]:
        return np.digitize(costs, self.edges[1:-1]).astype(np.int64)

    def interval(self, bucket: int) -> Interval:
        """The costs of a bucket."""
        low = -np.inf if bucket == 0 else self.edges[bucket]
        return Interval(low, np.inf if bucket == self.count - 1 else self.edges[bucket + 1])

    def draw(self, bucket: int, count: int, rng: np.random.Generator, allowed: Mask | None = None) -> Genes:
        """Random paths of a bucket (count, slots).

        Args:
            allowed: choices of each slot; None for all.

        Raises:
            InputError: no path was found whose cost is in the bucket.
        """
        allowed = list_choices(self.space) if allowed is None else allowed
        genes = draw(self.space, self.cost, allowed, self.interval(bucket), count, rng)
        if not len(genes):
            raise InputError(
                f"bucket {bucket + 1} of {self.count} (costs from {self.edges[bucket]:.4g} to "
                f"{self.edges[bucket + 1]:.4g}) seems to be empty: no random walk found a path in it; "
                "ask for fewer buckets, or prune fewer operations"
            )
        return genes

    def draw_each(self, count: int, rng: np.random.Generator) -> Genes:
        """So many random paths of each bucket (buckets x count, slots), the cheapest bucket first."""
        return np.concatenate([self.draw(bucket, count, rng) for bucket in range(self.count)])

    def to_json(self) -> dict[str, Any]:
        return {"edges": [*self.edges]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], space: PathSpace, cost: Cost | None = None) -> Buckets:
        return cls(space, cost or space.cost, tuple(float(edge) for edge in value["edges"]))
