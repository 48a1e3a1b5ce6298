"""Buckets between the ends of a space, and random paths of each of them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from toy_paths import ToyPaths

from optimizer.errors import InputError
from optimizer.path_filter.buckets import Buckets
from optimizer.path_filter.space import Floats, Genes, find_ends, list_choices, make_canonical


def test_edges_are_equally_far_between_the_smallest_and_the_largest_path(space: ToyPaths, buckets: Buckets) -> None:
    least, most = space.cost(find_ends(space))
    assert buckets.edges[0] == least and buckets.edges[-1] == most and buckets.count == 5
    np.testing.assert_allclose(np.diff(buckets.edges), (most - least) / 5)
    assert buckets.find(find_ends(space)).tolist() == [0, 4]
    assert buckets.find_of_costs(np.array([-1.0, *buckets.edges, 1e9])).tolist() == [0, 0, 1, 2, 3, 4, 4, 4]
    assert Buckets.from_json(buckets.to_json(), space) == buckets


def test_any_cost_makes_buckets(space: ToyPaths) -> None:
    def time(genes: Genes) -> Floats:
        return 3.0 + (space.tokens(genes) > 0).sum(axis=1)

    buckets = Buckets.between_ends(space, time, count=4)
    assert buckets.edges == (6.0, 7.0, 8.0, 9.0, 10.0)
    assert (time(buckets.draw(2, 20, np.random.default_rng(0))) == 8.0).all()


def test_paths_that_cost_the_same_make_no_buckets(space: ToyPaths) -> None:
    with pytest.raises(InputError, match=r"paths cannot be told apart by cost: the smallest costs 1, the largest 1"):
        Buckets.between_ends(space, lambda genes: np.ones(len(genes)))


def test_a_bucket_without_paths_says_so(space: ToyPaths) -> None:
    buckets = Buckets.between_ends(space, lambda genes: 10.0 * (genes[:, 0] > 0) * (genes[:, 1] > 0))
    assert len(buckets.draw(0, 5, np.random.default_rng(0))) == 5
    with pytest.raises(
        InputError, match=r"bucket 3 of 5 \(costs from 4 to 6\) seems to be empty: .* ask for fewer buckets"
    ):
        buckets.draw(2, 5, np.random.default_rng(0))


def test_every_bucket_is_drawn_from_and_draws_are_canonical(space: ToyPaths, buckets: Buckets) -> None:
    genes = buckets.draw_each(12, np.random.default_rng(0))
    assert buckets.find(genes).tolist() == [bucket for bucket in range(5) for _ in range(12)]
    np.testing.assert_array_equal(genes, make_canonical(space, genes))
    np.testing.assert_array_equal(genes, buckets.draw_each(12, np.random.default_rng(0)))


def test_barred_choices_are_never_drawn_however_rare_the_bucket(space: ToyPaths, buckets: Buckets) -> None:
    allowed = list_choices(space)
    allowed[4:, 0] = False  # the smallest expansion of each block
    genes = buckets.draw(4, 50, np.random.default_rng(0), allowed)
    assert (buckets.find(genes) == 4).all()
    assert not np.isin(space.tokens(genes), (1, 4, 7)).any()


def test_walks_leave_the_paths_of_a_bucket_as_likely_as_drawing_until_one_fits() -> None:
    """Of one stage of one to three blocks all 243 draws are listed; 7 are in the top bucket."""
    space = ToyPaths((1,))
    buckets = Buckets.between_ends(space)
    every = np.array(list(product(range(3), repeat=5)), dtype=np.int64)
    fitting = make_canonical(space, every[buckets.find(every) == 4])
    assert 2 < len(fitting) < 20
    drawn = buckets.draw(4, 2000, np.random.default_rng(0))
    paths, expected = np.unique(fitting, axis=0, return_counts=True)
    found, counts = np.unique(drawn, axis=0, return_counts=True)
    np.testing.assert_array_equal(found, paths)
    np.testing.assert_allclose(counts / 2000, expected / len(fitting), atol=0.04)
