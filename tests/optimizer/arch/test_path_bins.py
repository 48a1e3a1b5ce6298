"""Paths of pre-training: the paper's bins of operations, scaled ones for other spaces, and a cap that ends."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from optimizer.arch.families import PATH_SPACES, count_path
from optimizer.arch.path_bins import CANVAS, BinnedPaths
from optimizer.arch.paths import PathSubnet, PathSubnets

PAPER = PathSubnets("shufflenetv2_20", ((320, 240), (256, 192)))


def count_whole(space: PathSubnets, path: PathSubnet) -> int:
    return count_path(space.body(path), PATH_SPACES[space.family])[1]


def find_bin(paths: BinnedPaths, macs: int) -> int:
    return next(number for number, (least, most) in enumerate(paths.bins) if least <= macs <= most)


@pytest.mark.parametrize("family", PATH_SPACES)
def test_the_table_counts_what_the_body_counts(family: str) -> None:
    space, rng = PathSubnets(family, ((320, 240),)), Random(1)
    for path in (space.smallest(), space.largest(), *(space.sample(rng) for _ in range(5))):
        for size in (CANVAS, (320, 240), (97, 61)):
            assert space.count_body(path, size) == space.body(path).count(size).macs


def test_the_papers_bins_are_10_m_wide_from_290_to_360_m_and_each_is_as_likely() -> None:
    paths = BinnedPaths.of(PAPER)
    assert [least for least, _ in paths.bins] == pytest.approx([290e6 + 10e6 * number for number in range(7)])
    assert paths.bins[-1][1] == pytest.approx(360e6)
    rng = Random(0)
    found = Counter(find_bin(paths, count_whole(PAPER, paths.sample(rng))) for _ in range(350))
    assert set(found) == set(range(7)) and min(found.values()) > 25
    uniform = Counter(count_whole(PAPER, PAPER.sample(rng)) < 300e6 for _ in range(350))
    assert uniform[True] < 25, "without bins cheap paths are rare"


@pytest.mark.parametrize("family", ["shufflenetv2_40", "shufflenetv2_40w"])
def test_other_spaces_have_bins_at_the_same_shares_of_their_range(family: str) -> None:
    space, rng = PathSubnets(family, ((320, 240),)), Random(0)
    paths = BinnedPaths.of(space)
    least, most = count_whole(space, space.smallest()), count_whole(space, space.largest())
    assert least < paths.bins[0][0] < paths.bins[-1][1] < most and len(paths.bins) == 7
    for _ in range(5):
        find_bin(paths, count_whole(space, paths.sample(rng)))


def test_a_bin_that_holds_no_path_is_given_up_after_so_many_attempts() -> None:
    class Counting(Random):
        drawn = 0

        def choice(self, seq):  # type: ignore[no-untyped-def]
            Counting.drawn += 1
            return super().choice(seq)

    paths = replace(BinnedPaths.of(PAPER), bins=((1.0, 2.0),), attempts=10)
    assert PAPER.contains(paths.sample(Counting(3)))
    assert Counting.drawn == 1 + 11 * (PAPER.places + 1)


def test_a_space_of_one_path_has_that_one() -> None:
    single = replace(PAPER, choices=(2,))
    assert BinnedPaths.of(single).sample(Random(0)).choices == (2,) * 20
