"""Fronts against their definition."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.errors import InputError
from optimizer.search.pareto import hypervolume, hypervolume_of_many, pareto_front

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), min_size=1, max_size=12)


def test_by_hand() -> None:
    gains, costs = [0.5, 0.4, 0.45, 0.3, 0.5], [10, 6, 11, 6, 10]
    assert pareto_front(gains, costs) == [1, 0]


@given(POINTS)
def test_nobody_on_the_front_is_beaten_and_everybody_else_is(points: list[tuple[int, int]]) -> None:
    gains, costs = [gain for gain, _ in points], [cost for _, cost in points]
    front = pareto_front(gains, costs)
    for i, (gain, cost) in enumerate(points):
        beaten = any(g >= gain and c <= cost and (g, c) != (gain, cost) for g, c in points)
        doubled = (gain, cost) in points[:i]
        assert (i in front) == (not beaten and not doubled)
    assert [costs[i] for i in front] == sorted(costs[i] for i in front)


@given(POINTS, st.sampled_from([0.0, 0.01, 0.2, 0.5]))
def test_a_front_is_that_of_all_pairs_compared(points: list[tuple[int, int]], epsilon: float) -> None:
    def beats(a: int, b: int) -> bool:
        (gain, cost), (other_gain, other_cost) = points[a], points[b]
        cheaper = gain >= other_gain and cost < other_cost * (1 - epsilon)
        better = gain > other_gain and cost <= other_cost
        return cheaper or better or (points[a] == points[b] and a < b)

    indices = range(len(points))
    expected = [b for b in indices if not any(beats(a, b) for a in indices if a != b)]
    front = pareto_front([gain for gain, _ in points], [cost for _, cost in points], epsilon)
    assert front == sorted(expected, key=lambda index: (points[index][1], points[index][0]))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=12))
def test_with_several_costs_too(points: list[tuple[int, int, int]]) -> None:
    front = pareto_front([gain for gain, _, _ in points], [(one, other) for _, one, other in points])
    for i, point in enumerate(points):
        beaten = any(p[0] >= point[0] and p[1] <= point[1] and p[2] <= point[2] and p != point for p in points)
        assert (i in front) == (not beaten and point not in points[:i])
    assert [points[i][1:] for i in front] == sorted(points[i][1:] for i in front)


def test_one_that_is_slower_here_stays_for_what_it_costs_there() -> None:
    assert pareto_front([0.5, 0.4, 0.4], [(10.0, 10.0), (11.0, 6.0), (11.0, 10.0)]) == [0, 1]
    assert pareto_front([0.5, 0.5], [(10.0, 9.95), (10.0, 10.0)], epsilon=0.01) == [0, 1]


def test_a_difference_that_may_be_noise_evicts_nobody_of_equal_gain() -> None:
    assert pareto_front([0.5, 0.5], [10.0, 9.95], epsilon=0.01) == [1, 0]
    assert pareto_front([0.5, 0.5], [10.0, 9.80], epsilon=0.01) == [1]
    assert pareto_front([0.5, 0.6], [10.0, 9.95], epsilon=0.01) == [1], "more gain at less cost still does"


def test_an_empty_field_has_an_empty_front() -> None:
    assert pareto_front([], []) == []


def test_volumes_of_several_costs_agree_with_the_area_and_with_boxes() -> None:
    pytest.importorskip("moocore", reason="moocore is not installed: pip install 'detopt[targets]'")
    plane = [(0.4, 0.5), (0.5, 0.8), (0.3, 0.9), (0.6, 1.2)]
    assert hypervolume_of_many(plane) == pytest.approx(hypervolume(plane))
    corners = [(0.4, 0.5, 0.5), (0.5, 0.8, 0.9), (0.9, 0.1, 1.5)]
    boxes = 0.4 * 0.5 * 0.5 + 0.5 * 0.2 * 0.1 - 0.4 * 0.2 * 0.1  # the third costs more than the base on one target
    assert hypervolume_of_many(corners) == pytest.approx(boxes)
    assert hypervolume_of_many([(ap, cost, 0.0) for ap, cost in plane]) == pytest.approx(hypervolume(plane))
    assert hypervolume_of_many([]) == 0.0


def test_without_the_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moocore", None)
    with pytest.raises(InputError, match=r"it takes moocore .*detopt\[targets\]"):
        hypervolume_of_many([(0.4, 0.5, 0.5)])
