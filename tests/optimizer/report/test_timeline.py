"""When the front grew and where the time went, checked against areas and sums done by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_trials import ARCH, make_done

from optimizer.report.timeline import PARTS, find_learning_share, split_time, trace_growth
from optimizer.search.base import FailedTrial, PendingTrial, Proposal, ScreenedTrial, Work

BASE = make_done(work=Work(5, 80.0, seconds_by_part={"build": 1.0, "train": 70.0, "evaluate": 5.0, "measure": 4.0}))
HALF = make_done(2, ap=0.3, cost_ratio=2.0, work=Work(6, 20.0, seconds_by_part={"train": 14.0, "export": 6.0}))
SCREENED = ScreenedTrial(1, Proposal(0, epochs=0), ARCH, 0.9, 0.9, BASE.counts, 3.0)


def test_the_front_grows_by_the_area_that_a_student_adds() -> None:
    beaten = replace(HALF, number=4, ap=0.2)
    faster = replace(HALF, number=5, ap=0.2, cost_ratio=4.0)
    history = [BASE, SCREENED, HALF, FailedTrial(3, Proposal(0), "no"), beaten, faster, PendingTrial(6, Proposal(0))]
    moments = trace_growth(history)
    assert [moment.trial.number for moment in moments] == [0, 2, 5], "one that is beaten and one screened raise nothing"
    assert [moment.raised for moment in moments] == [False, True, True]
    assert [moment.seconds for moment in moments] == pytest.approx([80, 103, 143])
    assert [moment.volume for moment in moments] == pytest.approx([0, 0.3 * 0.5, 0.3 * 0.5 + 0.2 * 0.25])


def test_the_line_reaches_to_the_last_trial() -> None:
    last = trace_growth([BASE, HALF, replace(SCREENED, number=3)])[-1]
    assert (last.trial.number, last.raised, last.seconds, last.volume) == (3, False, 103, pytest.approx(0.15))


def test_a_student_that_is_no_faster_than_the_base_adds_no_area() -> None:
    moments = trace_growth([BASE, make_done(1, ap=0.5)])
    assert [(moment.volume, moment.raised) for moment in moments] == [(0, False), (0, False)]


def test_before_and_right_after_the_base() -> None:
    assert trace_growth([]) == []
    assert [(moment.seconds, moment.volume) for moment in trace_growth([BASE])] == [(80, 0)]


def test_the_seconds_of_all_trials_and_the_rest_of_the_run_add_up() -> None:
    parts = split_time([BASE, SCREENED, HALF], 120.0)
    assert parts == {
        "training": 84, "screening": 3, "measuring": 4, "export": 6, "AP": 5, "building students": 1, "other": 17,
    }  # fmt: skip
    assert list(parts) == [*PARTS.values(), "other"] and sum(parts.values()) == 120
    assert find_learning_share(parts) == pytest.approx(87 / 120)


def test_the_time_of_a_base_that_was_taken_over_is_another_runs() -> None:
    assert split_time([BASE, HALF], 30.0, own_base=False) == {"training": 14, "export": 6, "other": 10}


def test_a_run_that_recorded_no_parts_has_no_split() -> None:
    assert split_time([], 10.0) == {}
    assert split_time([make_done()], 100.0) == {}, "the first release wrote none"


def test_nothing_is_left_over_where_the_trials_took_longer_than_the_clock_says() -> None:
    assert split_time([HALF], 5.0) == {"training": 14, "export": 6}
    assert find_learning_share({"export": 6.0}) == 0
