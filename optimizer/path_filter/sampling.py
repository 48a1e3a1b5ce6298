"""What a super-network is trained on: random paths of a pruned space that the filter finds good enough."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from optimizer.errors import RunFailed
from optimizer.path_filter.buckets import Buckets
from optimizer.path_filter.pruned_space import PrunedSpace
from optimizer.path_filter.space import Genes, Score
from optimizer.seeds import derive_seed

__all__ = ["PathStream", "draw_good", "set_thresholds"]

WEAK = 0.25
SCORED = 1000  # fresh paths of a bucket that its threshold is taken from
BLOCK = 256  # steps whose paths are drawn together
LEAST, TRIES = 64, 20  # paths drawn at once, and how often, before a threshold is called out of reach


def set_thresholds(
    pruned: PrunedSpace,
    buckets: Buckets,
    score: Score,
    rng: np.random.Generator,
    weak: float = WEAK,
    count: int = SCORED,
) -> PrunedSpace:
    """With the score below which this share of each bucket's paths is, of so many fresh ones; a share of 0 allows all.

    Raises:
        InputError: a bucket seems to have no paths.
    """
    if weak == 0:
        return replace(pruned, thresholds=(0.0,) * buckets.count)
    drawn = [buckets.draw(bucket, count, rng, pruned.mask(bucket)) for bucket in range(buckets.count)]
    return replace(pruned, thresholds=tuple(float(np.quantile(score(genes), weak)) for genes in drawn))


def draw_good(
    pruned: PrunedSpace, buckets: Buckets, score: Score, bucket: int, count: int, rng: np.random.Generator
) -> Genes:
    """Random paths of a bucket (count, slots), of allowed operations, that score at least the bucket's threshold.

    Raises:
        InputError: the bucket seems to have no paths. RunFailed: their scores are below the threshold.
    """
    threshold, at_once = pruned.thresholds[bucket], max(count, LEAST)
    found = np.empty((0, len(buckets.space.slots)), dtype=np.int64)
    for _ in range(TRIES):
        genes = buckets.draw(bucket, at_once, rng, pruned.mask(bucket))
        found = np.concatenate([found, genes[score(genes) >= threshold] if threshold > 0 else genes])
        if len(found) >= count:
            return found[:count]
    raise RunFailed(
        f"bucket {bucket + 1}: of {TRIES * at_once} random paths {len(found)} score at least {threshold:.4g}, wanted "
        f"{count}; the threshold is another filter's, or its share of weak paths is too large"
    )


class PathStream:
    """The path of each training step: a random bucket, then one of its good paths.

    The number of a step alone decides, so that a training that is resumed sees the same paths. Paths are drawn by the
    block, and scored together.
    """

    def __init__(self, pruned: PrunedSpace, buckets: Buckets, score: Score, seed: int) -> None:
        self.pruned, self.buckets, self.score, self.seed = pruned, buckets, score, seed
        self._block, self._paths = -1, np.empty((0, len(buckets.space.slots)), dtype=np.int64)

    def at(self, step: int) -> Genes:
        """The genes of a step's path (slots,)."""
        block, place = divmod(step, BLOCK)
        if block != self._block:
            self._paths, self._block = self._draw_block(block), block
        path: Genes = self._paths[place]
        return path

    def _draw_block(self, block: int) -> Genes:
        rng = np.random.default_rng(derive_seed(self.seed, "paths", block))
        numbers = rng.integers(self.buckets.count, size=BLOCK)
        paths = np.empty((BLOCK, self._paths.shape[1]), dtype=np.int64)
        for bucket in range(self.buckets.count):
            rows = np.flatnonzero(numbers == bucket)
            if len(rows):
                paths[rows] = draw_good(self.pruned, self.buckets, self.score, bucket, len(rows), rng)
        return paths
