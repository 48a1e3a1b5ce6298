"""Sines and cosines of a place, as the paper prints them and as Transformers have them."""

from __future__ import annotations

import math

import pytest

from optimizer.path_filter.encodings import Encoding, encode_places


@pytest.mark.parametrize("encoding, scale", [("literal", 17), ("standard", 128)])
def test_encodings_are_equation_3(encoding: Encoding, scale: int) -> None:
    table = encode_places(range(18), 128, encoding)
    assert table.shape == (18, 128)
    for place, column in ((0, 0), (5, 1), (17, 3), (11, 20)):
        angle = place / 10000 ** (2 * column / scale)
        assert float(table[place, 2 * column]) == pytest.approx(math.sin(angle), abs=1e-6)
        assert float(table[place, 2 * column + 1]) == pytest.approx(math.cos(angle), abs=1e-6)


def test_blocks_are_scaled_by_the_largest_block() -> None:
    assert float(encode_places([0, 1, 2, 3], 128, "literal")[2, 2]) == pytest.approx(math.sin(2 / 10000 ** (2 / 3)))


def test_one_place_alone_is_no_division_by_zero() -> None:
    assert encode_places([0], 4, "literal").tolist() == [[0, 1, 0, 1]]
