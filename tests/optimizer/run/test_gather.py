"""When the page is written while a run goes on."""

from __future__ import annotations

import pytest

from optimizer.recipes import quick
from optimizer.run.gather import OLDEST_S, describe_last_training, is_page_due


def test_the_first_trials_all_have_a_page_and_later_ones_a_share_of_one() -> None:
    assert all(is_page_due(trials, 0.0) for trials in range(100))
    for trials in (200, 1000, 3000):
        pages = [number for number in range(trials, 2 * trials) if is_page_due(number, 0.0)]
        assert 25 <= len(pages) <= 60, "so many, however many trials there are"


def test_a_page_is_never_behind_by_more_than_a_minute() -> None:
    assert not is_page_due(1001, OLDEST_S - 1) and is_page_due(1001, OLDEST_S)


@pytest.mark.parametrize(
    ("method", "budget_s", "said"),
    [
        ("joint", None, "2 trained further for 6 epochs"),
        ("joint", 600.0, "at most 2 trained further, for at most 6 epochs"),
        ("random", 600.0, "at most 2 trained further, for at most 6 epochs"),
        ("pareto", None, "2 trained further for 6 epochs"),
        ("pareto", 600.0, "at most 2 trained for as many epochs as the budget has time for"),
    ],
)
def test_the_page_says_of_the_last_training_what_a_budget_leaves_certain(
    method: str, budget_s: float | None, said: str
) -> None:
    config = quick().changed(
        {"search.method": method, "budget_s": budget_s, "search.finetuned": 2, "finetune.epochs": 6}
    )
    assert describe_last_training(config) == said
    assert describe_last_training(config.changed({"search.finetuned": 0})) == "nothing trained further"
