"""Evolution under several limits, with scores whose best paths are known."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from toy_paths import ToyPaths

from optimizer.errors import InputError
from optimizer.path_filter.buckets import Buckets
from optimizer.path_filter.evolution import PAPER, Breeding, evolve
from optimizer.path_filter.pruned_space import PrunedSpace
from optimizer.path_filter.space import Floats, Genes, list_choices, make_canonical

SMALL = Breeding(population=20, generations=20, parents=6)


def worth(genes: Genes) -> Floats:
    """Later slots count less."""
    return 0.5 + genes @ (0.001 * 1.3 ** -np.arange(genes.shape[1]))


def test_the_paper_s_breeding() -> None:
    assert Breeding(population=100, generations=500, parents=25, mutants=0.5, rate=0.1) == PAPER


def test_the_best_path_of_each_limit_is_found() -> None:
    space = ToyPaths((1,))
    buckets = Buckets.between_ends(space)
    every = make_canonical(space, np.array([*product(range(3), repeat=5)], dtype=np.int64))
    costs, scores = buckets.cost(every), worth(every)
    limits = [float(np.quantile(costs, share)) for share in (0.1, 0.5, 0.9, 1.0)]
    found = evolve(buckets, worth, limits, np.random.default_rng(0), SMALL)
    for limit, best in zip(limits, found, strict=True):
        bucket = buckets.find_of_costs(np.array([limit]))[0]
        fitting = (costs <= limit) & (buckets.find(every) == bucket)
        assert best.limit == limit and best.scores[0] == scores[fitting].max()
        assert (best.costs <= limit).all() and (buckets.find(best.genes) == bucket).all()
        np.testing.assert_array_equal(best.scores, worth(best.genes))
        assert (np.diff(best.scores) <= 0).all() and len(np.unique(best.genes, axis=0)) == len(best.genes)
        assert len(best.history) == 21 and list(best.history) == sorted(best.history)
    whole = evolve(buckets, worth, limits, np.random.default_rng(0), SMALL, by_bucket=False)
    assert [best.scores[0] for best in whole] == [scores[costs <= limit].max() for limit in limits]


def test_all_limits_are_scored_in_one_batch_every_path_once_and_the_last_children_too(buckets: Buckets) -> None:
    batches: list[Genes] = []

    def remember(genes: Genes) -> Floats:
        batches.append(genes)
        return worth(genes)

    limits = [buckets.edges[2], buckets.edges[3], buckets.edges[4]]
    evolve(buckets, remember, limits, np.random.default_rng(0), replace(SMALL, generations=4))
    assert len(batches) == 5 and all(10 < len(batch) <= 60 for batch in batches)
    assert all(len(np.unique(buckets.find(batch))) > 1 for batch in batches)
    every = np.concatenate(batches)
    assert len(np.unique(every, axis=0)) == len(every)


def test_a_limit_may_be_of_something_else_than_the_buckets() -> None:
    """Paths of the dearest bucket with any that the price allows compete; each is priced once."""
    space = ToyPaths((1,))
    buckets, priced = Buckets.between_ends(space), list[bytes]()
    every = make_canonical(space, np.array([*product(range(3), repeat=5)], dtype=np.int64))

    def price(genes: Genes) -> Floats:
        """Of the last slot nearly alone, which hardly costs anything."""
        return 1.0 + genes[:, -1] + 0.1 * space.cost(genes)

    def remember(genes: Genes) -> Floats:
        priced.extend(path.tobytes() for path in genes)
        return price(genes)

    prices, numbers, scores = price(every), buckets.find(every), worth(every)
    for limit in (float(np.quantile(prices, share)) for share in (0.05, 0.3, 0.9)):
        (best,) = evolve(buckets, worth, [limit], np.random.default_rng(0), SMALL, price=remember)
        fitting = prices <= limit
        dearest = numbers[fitting].max()
        assert (buckets.find(best.genes) == dearest).all() and best.scores[0] == scores[
            fitting & (numbers == dearest)
        ].max()
        assert (best.costs <= limit).all() and best.costs == pytest.approx(price(best.genes))
    assert len(priced) < 3 * len(every) + 3
    with pytest.raises(InputError, match=r"no path costs at most 0\.9: the smallest one costs 1\.\d+; raise the limit"):
        evolve(buckets, worth, [0.9], np.random.default_rng(0), SMALL, price=price)


def test_barred_operations_are_used_where_no_others_are_within_a_limit(buckets: Buckets) -> None:
    masks = np.repeat(list_choices(buckets.space)[None], 5, axis=0)
    masks[:, 4:, 0] = False  # of every bucket the smallest choices
    pruned, limit = PrunedSpace.of(buckets, masks), buckets.edges[0] * 1.001
    (best,) = evolve(buckets, worth, [limit], np.random.default_rng(0), SMALL, pruned)
    assert (best.costs <= limit).all() and not pruned.permit(buckets, best.genes).any()


def test_the_same_seed_breeds_the_same(buckets: Buckets) -> None:
    one, same, other = (
        evolve(buckets, worth, [buckets.edges[3]], np.random.default_rng(seed), replace(SMALL, generations=2))[0]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one.genes, same.genes)
    assert one.history == same.history and not np.array_equal(one.genes, other.genes)


def test_only_operations_of_the_pruned_space_are_used(buckets: Buckets) -> None:
    masks = np.repeat(list_choices(buckets.space)[None], 5, axis=0)
    masks[:, 4:, 0] = False
    masks[3, 4:, 2] = False
    pruned = PrunedSpace.of(buckets, masks)
    limits = [buckets.edges[2], buckets.edges[4] * 0.999]
    for best in evolve(buckets, worth, limits, np.random.default_rng(0), SMALL, pruned):
        assert pruned.permit(buckets, best.genes).all()


def test_a_limit_at_the_low_end_of_its_bucket_is_met_by_the_one_below(buckets: Buckets) -> None:
    rng = np.random.default_rng(0)
    least = np.sort(buckets.cost(buckets.draw(2, 500, rng)))[0]
    sliver = (buckets.edges[2] + least) / 2
    if least > buckets.edges[2]:
        found = evolve(buckets, worth, [sliver], rng, replace(SMALL, generations=1))[0]
        assert (found.costs <= sliver).all()


def test_a_limit_below_the_smallest_path_is_refused(buckets: Buckets) -> None:
    with pytest.raises(InputError, match=r"no path costs at most 0\.1: the smallest one costs 0\.338; raise the limit"):
        evolve(buckets, worth, [buckets.edges[3], 0.1], np.random.default_rng(0), SMALL)
