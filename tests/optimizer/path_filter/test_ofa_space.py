"""OFA-ResNet50 is a space that filter, pruning and evolution take as it is."""

from __future__ import annotations

import numpy as np
import pytest

from optimizer.arch.ofa_space import OfaSpace
from optimizer.path_filter.buckets import Buckets
from optimizer.path_filter.drawing import draw_freely
from optimizer.path_filter.evolution import Breeding, evolve
from optimizer.path_filter.filter import FilterConfig, PathFilter, Scorer
from optimizer.path_filter.pruning import PruningConfig, prune
from optimizer.path_filter.sampling import PathStream, set_thresholds
from optimizer.path_filter.space import PathSpace, count_tokens, find_ends, list_choices, make_canonical

SIZE = (64, 64)


@pytest.fixture(scope="module")
def space() -> OfaSpace:
    return OfaSpace("ofa_resnet50", (SIZE,))


def test_it_has_the_paper_s_slots_and_tokens(space: OfaSpace) -> None:
    taken: PathSpace = space
    assert len(taken.slots) == 26 and len(taken.layers) == 18 and count_tokens(taken) == 10
    ends = find_ends(space)
    assert ends.tolist() == [[*space.genes(space.smallest())], [*space.genes(space.largest())]]


def test_what_genes_say_of_skipped_blocks_is_left_aside(space: OfaSpace) -> None:
    genes = draw_freely(list_choices(space), 50, np.random.default_rng(0))
    canonical = make_canonical(space, genes)
    assert (canonical != genes).any()
    np.testing.assert_array_equal(space.tokens(canonical), space.tokens(genes))
    np.testing.assert_array_equal(space.cost(canonical), space.cost(genes))
    assert [space.genes(space.subnet(row, SIZE)) for row in genes] == [tuple(row) for row in canonical.tolist()]


def test_the_whole_chain_runs_on_it(space: OfaSpace) -> None:
    buckets = Buckets.between_ends(space)
    rng = np.random.default_rng(0)
    genes = buckets.draw_each(4, rng)
    assert buckets.find(genes).tolist() == [bucket for bucket in range(5) for _ in range(4)]
    score = Scorer(PathFilter(space, FilterConfig(width=8, heads=2, layers=1)), buckets)
    pruned = prune(buckets, score, PruningConfig(draws=2), rng)
    pruned = set_thresholds(pruned, buckets, score, rng, count=32)
    path = PathStream(pruned, buckets, score, seed=0).at(7)
    assert space.contains(space.subnet(path, SIZE))
    limits = [buckets.edges[2], buckets.edges[4]]
    small = Breeding(population=8, generations=2, parents=4)
    for found in evolve(buckets, score, limits, rng, small, pruned):
        arch = space.arch(space.subnet(found.genes[0], SIZE))
        assert found.costs[0] == arch.body.count(SIZE).macs <= found.limit
