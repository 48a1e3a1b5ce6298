"""The objectives in closed form, and what the paper says of its score (FACTS 1.4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.search.objective import OBJECTIVES, Objective, arithmetic, geometric, harmonic, product

RATIOS = st.floats(0.05, 20.0)


@pytest.fixture(params=sorted(OBJECTIVES))
def objective(request: pytest.FixtureRequest) -> Objective:
    return OBJECTIVES[request.param]


def test_values_by_hand() -> None:
    assert harmonic(0.9, 2.0, 0.5, 0.8) == pytest.approx(1 / (0.8 / 0.9 + 0.2 / 2**0.5))
    assert geometric(0.9, 2.0, 0.5, 0.8) == pytest.approx(0.9**0.8 * 2**0.1)
    assert product(0.9, 4.0, 0.5, 0.8) == pytest.approx(1.8)
    assert arithmetic(0.9, 4.0, 0.5, 0.8) == pytest.approx(0.8 * 0.9 + 0.2 * 2)


@given(alpha=st.floats(0.05, 1.0), beta=st.floats(0.05, 0.95))
def test_the_base_scores_one(alpha: float, beta: float) -> None:
    for function in OBJECTIVES.values():
        assert function(1.0, 1.0, alpha, beta) == pytest.approx(1.0)


@given(ap=RATIOS, more=RATIOS, cost=RATIOS)
def test_every_objective_rises_with_either_argument(ap: float, more: float, cost: float) -> None:
    for function in OBJECTIVES.values():
        assert function(ap + more, cost, 0.4, 0.8) > function(ap, cost, 0.4, 0.8)
        assert function(ap, cost + more, 0.4, 0.8) > function(ap, cost, 0.4, 0.8)


def test_a_student_that_detects_nothing_scores_nothing(objective: Objective) -> None:
    assert objective(0.0, 50.0, 0.4, 0.8) == 0.0


@pytest.mark.parametrize(("alpha", "share_of_flops"), [(0.4, 0.10), (0.1, 0.40)])
def test_one_percent_of_ap_is_worth_what_the_paper_pays_for_it(alpha: float, share_of_flops: float) -> None:
    step = 1e-5  # near the base: one share of AP for ten (forty) shares of operations
    assert harmonic(1 - step, 1 + step * share_of_flops / 0.01, alpha, 0.8) == pytest.approx(1.0, abs=1e-8)


# FACTS 1.4: with these losses of AP by canvas the reconstruction chooses what the paper chose.
AP_BY_SIZE = {(1333, 800): 1.0, (1080, 720): 0.985, (800, 600): 0.94, (512, 512): 0.865}


@pytest.mark.parametrize(("alpha", "chosen"), [(0.4, (1080, 720)), (0.1, (1333, 800))])
def test_harmonic_chooses_the_papers_canvas(alpha: float, chosen: tuple[int, int]) -> None:
    largest = 1333 * 800
    scores = {size: harmonic(ap, largest / (size[0] * size[1]), alpha, 0.8) for size, ap in AP_BY_SIZE.items()}
    assert max(scores, key=lambda size: scores[size]) == chosen
    assert min(scores, key=lambda size: scores[size]) == (512, 512)
    others = {size: arithmetic(ap, largest / (size[0] * size[1]), 0.4, 0.8) for size, ap in AP_BY_SIZE.items()}
    assert max(others, key=lambda size: others[size]) != (1080, 720), "an arithmetic mean does not"


# base: (AP of base and of searched student, G of base and of student, alpha), then the four objectives (FACTS 1.4)
PUBLISHED = {
    "r18": ((36.0, 38.5, 160.5, 117.3, 0.4), (1.0817, 1.0820, 1.2124, 1.0823)),
    "r50": ((39.5, 42.3, 215.8, 145.7, 0.4), (1.0894, 1.0900, 1.2531, 1.0907)),
    "r101": ((41.4, 43.9, 295.7, 153.9, 0.4), (1.1008, 1.1042, 1.3769, 1.1080)),
    "x101": ((42.9, 45.7, 286.9, 266.3, 0.1), (1.0532, 1.0535, 1.0732, 1.0537)),
}


@pytest.mark.parametrize("base", PUBLISHED)
def test_scores_of_the_published_students(base: str) -> None:
    (ap_base, ap, cost_base, cost, alpha), expected = PUBLISHED[base]
    found = [function(ap / ap_base, cost_base / cost, alpha, 0.8) for function in (harmonic, geometric, product)]
    found.append(arithmetic(ap / ap_base, cost_base / cost, alpha, 0.8))
    assert found == pytest.approx(expected, abs=1e-4)
