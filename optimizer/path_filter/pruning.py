"""Barring operations that the filter finds weak (FACTS 4.7; 4.8, items 7 and 8).

An operation is a choice of a slot: a stage's depth, a stage's width, or a block's expansion. Its score is the mean of
paths that were drawn at random and given the operation. Scores say nothing across buckets, yet the paper's way "all"
also takes the mean over paths of the whole space; it is done here as printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from optimizer.path_filter.buckets import Buckets
from optimizer.path_filter.drawing import EVERYWHERE, Interval, draw, draw_freely, mix, reach
from optimizer.path_filter.pruned_space import PrunedSpace, find_obeying
from optimizer.path_filter.space import Mask, PathSpace, Score, find_layer_slots, list_choices, make_canonical

__all__ = ["PruningConfig", "PruningWay", "prune", "score_operations"]

PruningWay = Literal["flops", "per bucket", "all", "none"]
WITNESSES = 100  # paths that are drawn of what is left, to see that there is one


@dataclass(frozen=True)
class PruningConfig:
    """What is barred.

    Attributes:
        way: "flops" bars operations of each bucket at random, "per bucket" its worst, "all" first the worst of the
            whole space and then those of each bucket.
        ratio: share of a bucket's operations. overall: share of all operations, of the way "all" alone.
        draws: paths whose mean is an operation's score. The paper does not say how many.
    """

    way: PruningWay = "all"
    ratio: float = 0.3
    overall: float = 0.1
    draws: int = 100


def prune(buckets: Buckets, score: Score, config: PruningConfig, rng: np.random.Generator) -> PrunedSpace:
    """Bar the operations that score least. Every slot keeps a choice, and every bucket a path.

    Raises:
        InputError: a bucket is empty before anything is barred.
    """
    whole = list_choices(buckets.space)
    for bucket in range(buckets.count):
        buckets.draw(bucket, 1, rng)
    kept = np.repeat(whole[None], buckets.count, axis=0)
    if config.way == "all":
        scores = score_operations(buckets, score, whole, EVERYWHERE, config.draws, rng)
        intervals = [buckets.interval(bucket) for bucket in range(buckets.count)]
        kept[:] = _bar(buckets, whole, scores, config.overall, intervals, rng)
    if config.way != "none":
        for bucket in range(buckets.count):
            interval = buckets.interval(bucket)
            rank: Score = (lambda genes: rng.random(len(genes))) if config.way == "flops" else score
            scores = score_operations(buckets, rank, kept[bucket], interval, config.draws, rng)
            kept[bucket] = _bar(buckets, kept[bucket], scores, config.ratio, [interval], rng)
    return PrunedSpace.of(buckets, kept)


def score_operations(
    buckets: Buckets, score: Score, allowed: Mask, interval: Interval, draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The mean score of each operation (slots, most choices of a slot).

    Paths are drawn at random, given the operation, and walk back into the interval by their other choices; a block's
    expansion is given to paths that have the block. NaN is an operation that is barred, or that no path there has.
    """
    operations = np.argwhere(allowed)
    masks = np.repeat(_insert_each(buckets.space, allowed, operations), draws, axis=0)
    genes = reach(buckets.cost, masks, interval, draw_freely(masks, len(masks), rng), rng)
    inside = (interval.measure_distance(buckets.cost(genes)) == 0) & np.all(np.any(masks, axis=2), axis=1)
    if interval != EVERYWHERE:
        genes[inside] = mix(buckets.cost, masks[inside], interval, genes[inside], rng)
    genes = make_canonical(buckets.space, genes)
    scores = np.full(len(genes), np.nan)
    scores[inside] = score(genes[inside])
    found = np.full(allowed.shape, np.nan)
    by_operation = scores.reshape(len(operations), draws)
    counts = inside.reshape(len(operations), draws).sum(axis=1)
    means = np.nansum(by_operation, axis=1) / np.maximum(counts, 1)
    found[operations[:, 0], operations[:, 1]] = np.where(counts > 0, means, np.nan)
    return found


def _insert_each(space: PathSpace, allowed: Mask, operations: NDArray[np.int64]) -> Mask:
    """For each operation what paths with it may have (operations, slots, most choices of a slot)."""
    masks = np.repeat(allowed[None], len(operations), axis=0)
    depths = {slot.stage: number for number, slot in enumerate(space.slots) if slot.kind == "depth"}
    layers = {slot: layer for layer, slot in enumerate(find_layer_slots(space))}
    for mask, (slot, choice) in zip(masks, operations, strict=True):
        mask[slot] = False
        mask[slot, choice] = True
        if slot in layers:
            depth = depths[space.slots[slot].stage]
            genes = np.zeros((allowed.shape[1], len(space.slots)), dtype=np.int64)
            count = len(space.slots[depth].choices)
            genes[:count, depth] = np.arange(count)
            mask[depth, :count] &= space.tokens(genes)[:count, layers[slot]] > 0
    return masks


def _bar(
    buckets: Buckets,
    allowed: Mask,
    scores: NDArray[np.float64],
    share: float,
    intervals: list[Interval],
    rng: np.random.Generator,
) -> Mask:
    """Without this share of the operations that have scores, the worst first, as far as paths are left everywhere."""
    space, kept = buckets.space, allowed.copy()
    witnesses = [draw(space, buckets.cost, kept, interval, WITNESSES, rng) for interval in intervals]
    candidates = np.argwhere(np.isfinite(scores))
    order = np.argsort(scores[candidates[:, 0], candidates[:, 1]], kind="stable")
    to_bar = round(share * len(candidates))
    for slot, choice in candidates[order]:
        if to_bar == 0:
            break
        if kept[slot].sum() == 1:
            continue
        kept[slot, choice] = False
        left = [genes[find_obeying(space, kept, genes)] for genes in witnesses]
        for number, interval in enumerate(intervals):
            if not len(left[number]):
                paths = reach(buckets.cost, kept, interval, draw_freely(kept, WITNESSES, rng), rng)
                left[number] = paths[interval.measure_distance(buckets.cost(paths)) == 0]
        if all(map(len, left)):
            witnesses, to_bar = left, to_bar - 1
        else:
            kept[slot, choice] = True
    return kept
