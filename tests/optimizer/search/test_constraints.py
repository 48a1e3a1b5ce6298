"""What breaks a constraint, and by how much."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from optimizer.search.constraints import UNCONSTRAINED, Breach, Constraints, Figures

ASKED = Constraints(max_latency_ms=33, max_bytes=20_000_000, min_ap=0.3)


def test_what_keeps_every_bound_or_reaches_it_breaks_nothing() -> None:
    assert ASKED.find_breach(Figures(0.3, 33.0, 20_000_000)) is None
    assert UNCONSTRAINED.find_breach(Figures(0.0, 1e6, 10**12)) is None


@pytest.mark.parametrize(
    ("figures", "breach"),
    [
        (Figures(0.4, 41.25, 10**6), Breach("41.25 ms, above 33 ms", 1.25)),
        (Figures(0.4, 30.0, 25_000_000), Breach("25 MB, above 20 MB", 1.25)),
        (Figures(0.15, 30.0, 10**6), Breach("AP 0.1500, below 0.3", 2.0)),
        (Figures(0.15, 66.0, 60_000_000), Breach("66 ms, above 33 ms; 60 MB, above 20 MB; AP 0.1500, below 0.3", 3.0)),
        (Figures(0.0, 30.0, 10**6), Breach("AP 0.0000, below 0.3", math.inf)),
    ],
)
def test_a_breach_names_each_figure_and_the_worst_excess(figures: Figures, breach: Breach) -> None:
    assert ASKED.find_breach(figures) == breach


def test_memory_is_compared_in_bytes_and_holds_the_weights_too() -> None:
    asked = Constraints(max_memory_bytes=512_000_000)
    assert asked.find_breach(Figures(0.4, 30.0, None, 488.0)) is None
    found = asked.find_breach(Figures(0.4, 30.0, None, 610.3515625))
    assert found == Breach("640 MB of memory, above 512 MB", 1.25)
    assert asked.most_params == 128_000_000 and str(asked) == "at most 512 MB of memory"
    assert Constraints(max_memory_bytes=512_000_000, max_bytes=20_000_000).most_params == 5_000_000


def test_what_is_not_known_breaks_nothing() -> None:
    assert ASKED.find_breach(Figures(0.4, None, None)) is None
    assert Constraints(max_memory_bytes=1).find_breach(Figures(0.4, None, None, None)) is None


def test_bounds_as_a_search_takes_them() -> None:
    assert ASKED.find_ceiling(66.0) == 0.5 and ASKED.most_params == 5_000_000
    assert ASKED.find_ceiling(None) == UNCONSTRAINED.find_ceiling(66.0) == UNCONSTRAINED.most_params == math.inf
    assert ASKED.of_architecture.find_breach(Figures(0.1, 30.0, 10**6)) is None


def test_bounds_in_words() -> None:
    assert str(ASKED) == "at most 33 ms, at most 20 MB, AP at least 0.3" and str(UNCONSTRAINED) == ""


@pytest.mark.parametrize(
    "values", [{"max_latency_ms": 0}, {"max_latency_ms": math.inf}, {"max_bytes": 0}, {"min_ap": 1}]
)
def test_impossible_bounds_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Constraints.model_validate(values)
