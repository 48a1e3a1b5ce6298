"""Who gets the last training of a run, and how much of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_trials import make_done

from optimizer.arch.macs import Cost
from optimizer.run.contenders import Contender, fit_last_training, share_epochs
from optimizer.search.base import DoneTrial, Proposal, ScreenedTrial, Work

# AP and latency (share of the base's) of a front, its students' seconds in training and for how many epochs
FRONT = {1: (0.55, 0.8, 40.0, 2), 2: (0.50, 0.6, 15.0, 1), 3: (0.49, 0.58, 15.0, 1), 4: (0.35, 0.4, 10.0, 1)}


def make_front() -> list[DoneTrial]:
    return [
        make_done(
            number,
            Proposal(0, epochs=epochs),
            ap=ap,
            cost_ratio=1 / latency,
            work=Work(5.0, 99.0, seconds_by_part={"train": seconds}),
        )
        for number, (ap, latency, seconds, epochs) in FRONT.items()
    ]


def fit(count: int, left_s: float) -> tuple[set[int], int]:
    """Whom the last training is for, and the epochs of the first of them."""
    candidates = [Contender.of_student(trial, usual_epochs=1) for trial in make_front()]
    chosen = fit_last_training(candidates, count, left_s)
    return {of.number for of in chosen}, share_epochs(chosen, left_s) if chosen else 0


def test_the_students_span_the_front_and_fill_the_time() -> None:
    assert fit(3, 225.0) == ({1, 2, 4}, 5), "20 + 15 + 10 seconds an epoch"
    assert fit(4, 240.0) == ({1, 2, 3, 4}, 4)


def test_there_are_fewer_where_each_would_get_too_little() -> None:
    assert fit(3, 60.0) == ({2, 4}, 2), "each of three would get one epoch"
    assert fit(3, 16.0) == ({4}, 1)
    assert fit(3, 1.0) == (set(), 0), "nobody where there is no time for an epoch"


@pytest.mark.parametrize("count", [1, 2])
def test_no_more_are_chosen_than_wanted(count: int) -> None:
    assert len(fit(count, 1000.0)[0]) == count


def test_a_front_without_students_has_nobody_to_train() -> None:
    assert fit_last_training([], 3, 100.0) == []


def test_a_child_that_was_only_looked_at_is_reckoned_from_its_parent() -> None:
    parent = make_front()[1]
    counts = Cost(parent.counts.params, parent.counts.macs // 2)
    proposal = Proposal(2, (), epochs=0, aim=0.45)
    child = Contender.of_child(ScreenedTrial(9, proposal, parent.arch, 0.4, 0.6, counts, 3.0), parent, 1)
    assert child.number == 9 and child.epoch_s == pytest.approx(15 * (0.3 + 0.7 / 2))
    assert child.point == pytest.approx((0.5 * (0.45 / 0.6) ** 0.15, 0.45))
    faster = ScreenedTrial(10, replace(proposal, aim=0.3), parent.arch, 0.3, 0.6, counts, 3.0)
    slowest = ScreenedTrial(9, proposal, parent.arch, 0.4, 0.6, counts, 3.0)
    assert Contender.of_child(faster, parent, 1, slowest).point == pytest.approx((0.5 * 0.5**0.15 * 0.3 / 0.4, 0.3))
    assert child.point[0] < parent.ap and child.extra_s == 3.0, "another look at it, as it is made anew"
