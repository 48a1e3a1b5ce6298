"""When the page is written while a run goes on."""

from __future__ import annotations

from optimizer.run.gather import OLDEST_S, is_page_due


def test_the_first_trials_all_have_a_page_and_later_ones_a_share_of_one() -> None:
    assert all(is_page_due(trials, 0.0) for trials in range(100))
    for trials in (200, 1000, 3000):
        pages = [number for number in range(trials, 2 * trials) if is_page_due(number, 0.0)]
        assert 25 <= len(pages) <= 60, "so many, however many trials there are"


def test_a_page_is_never_behind_by_more_than_a_minute() -> None:
    assert not is_page_due(1001, OLDEST_S - 1) and is_page_due(1001, OLDEST_S)
