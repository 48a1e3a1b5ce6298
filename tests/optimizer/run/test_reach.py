"""What cannot be had is said before students are trained for it, with what can be."""

from __future__ import annotations

from typing import Any

import pytest
from made_trials import make_done

from optimizer.arch.macs import count
from optimizer.config import RunConfig
from optimizer.errors import InputError
from optimizer.recipes import quick
from optimizer.run.reach import check_size, explain_unreachable

RECORD = {"target": "cpu", "flags": [], "median_ms": 80.0, "ci95_ms": [79.0, 81.0], "p90_ms": 82.0, "p99_ms": 90.0}


def make_config(**changes: Any) -> RunConfig:
    return quick().changed({name.replace("__", "."): value for name, value in changes.items()})


def explain(config: RunConfig) -> str | None:
    return explain_unreachable(config, make_done(arch=config.base_arch(), latency=RECORD), (), 3)


def test_a_size_below_the_smallest_student_is_refused_with_that() -> None:
    with pytest.raises(InputError, match=r"no student can have 0\.02 MB: the smallest .* of r18 has about .* MB"):
        check_size(make_config(constraints__max_bytes=20_000), 3)


def test_memory_that_the_smallest_weights_do_not_fit_into_is_refused_too() -> None:
    with pytest.raises(InputError, match=r"no student can have 0\.02 MB: .*raise --max-memory, allow"):
        check_size(make_config(constraints__max_memory_bytes=20_000), 3)


def test_a_size_that_pruning_reaches_is_taken() -> None:
    config = make_config(constraints__max_bytes=20_000_000)
    assert count(config.base_arch(), 3).params * 4 > 20_000_000
    check_size(config, 3)


def test_without_actions_the_base_is_all_there_is() -> None:
    config = make_config(
        search__space__actions=(), search__teacher="base", search__method="joint", constraints__max_bytes=20_000_000
    )
    with pytest.raises(InputError, match="has about 1"):
        check_size(config, 3)


@pytest.mark.parametrize(
    "changes",
    [{}, {"constraints__max_latency_ms": 40.0}, {"constraints__max_latency_ms": 1.0, "search__method": "joint"}],
)
def test_latencies_that_may_be_reached_or_are_not_predicted_stop_nothing(changes: dict[str, Any]) -> None:
    assert explain(make_config(**changes)) is None


def test_a_latency_below_the_least_ends_the_search_with_that() -> None:
    text = explain(make_config(constraints__max_latency_ms=1.0))
    assert text is not None and text.startswith("no student can be as fast as 1 ms: the least that this search could")
