"""The loop with strategies and evaluations of one line each."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from made_trials import make_done

from optimizer.arch import PruneLayer
from optimizer.errors import RunFailed
from optimizer.search import Search, search
from optimizer.search.base import (
    DoneTrial,
    History,
    PendingTrial,
    Proposal,
    ScreenedTrial,
    SearchStrategy,
    SpaceExhausted,
    Trial,
    TrialFailed,
    count_students,
)
from optimizer.search.loop import Evaluate


class Chain:
    """Proposes to train the last trial on; notes what it was asked with."""

    def __init__(self, end: int = 1000) -> None:
        self.end = end
        self.asked: list[tuple[int, float]] = []

    def ask(self, history: History, rng: Random) -> Proposal:
        assert all(trial.status != "pending" for trial in history)
        if len(history) > self.end:
            raise SpaceExhausted("nothing is left")
        self.asked.append((len(history), rng.random()))
        return Proposal(len(history) - 1, (PruneLayer(),))


class Records:
    """A run's trials in memory."""

    def __init__(self) -> None:
        self.trials: dict[int, Trial] = {0: make_done()}
        self.log: list[tuple[int, str]] = []

    def __call__(self) -> list[Trial]:
        return [self.trials[number] for number in sorted(self.trials)]

    def record(self, trial: Trial) -> None:
        self.trials[trial.number] = trial
        self.log.append((trial.number, trial.status))


def succeed(number: int, proposal: Proposal) -> DoneTrial:
    return make_done(number, proposal, score=float(number))


def fail(number: int, proposal: Proposal) -> DoneTrial:
    raise TrialFailed(f"trial {number} is unlucky")


def go(
    strategy: SearchStrategy,
    records: Records,
    evaluate: Evaluate,
    trials: int,
    seed: int = 1,
    keep_going: Callable[[], bool] = lambda: True,
) -> str:
    return search(Search(strategy, records, records.record, seed, trials, keep_going), evaluate)


def test_every_trial_is_recorded_before_and_after() -> None:
    records = Records()
    why = go(Chain(), records, succeed, trials=2)
    assert records.log == [(1, "pending"), (1, "done"), (2, "pending"), (2, "done")]
    assert why == "all 2 trials are done"


def test_a_search_that_is_over_does_nothing() -> None:
    records = Records()
    go(Chain(), records, succeed, trials=2)
    records.log.clear()
    go(Chain(), records, succeed, trials=2)
    assert records.log == []


def test_a_killed_search_repeats_the_pending_proposal_and_asks_the_rest_as_ever() -> None:
    whole, records = Records(), Records()
    undisturbed, first, second = Chain(), Chain(), Chain()
    go(undisturbed, whole, succeed, trials=5)

    def killed_at_three(number: int, proposal: Proposal) -> DoneTrial:
        if number == 3:
            raise KeyboardInterrupt
        return succeed(number, proposal)

    with pytest.raises(KeyboardInterrupt):
        go(first, records, killed_at_three, trials=5)
    assert records.trials[3].status == "pending"
    go(second, records, succeed, trials=5)
    assert records() == whole()
    assert first.asked + second.asked == undisturbed.asked, "no proposal is drawn twice"


def test_a_trial_that_is_pending_among_finished_ones_is_done_again_under_its_number() -> None:
    records = Records()
    go(Chain(), records, succeed, trials=3)
    whole = records()
    for number in (1, 3):
        records.record(PendingTrial(number, whole[number].proposal))
    records.log.clear()
    go(Chain(end=0), records, succeed, trials=3)
    assert records() == whole
    assert records.log == [(1, "pending"), (1, "done"), (3, "pending"), (3, "done")]


def test_a_failed_trial_is_recorded_with_its_reason_and_the_search_goes_on() -> None:
    records = Records()
    go(Chain(), records, lambda n, p: fail(n, p) if n == 2 else succeed(n, p), trials=3)
    assert [trial.status for trial in records()] == ["done", "done", "failed", "done"]
    assert records.trials[2].error == "trial 2 is unlucky"


def test_students_that_are_only_screened_do_not_count_even_if_that_fails() -> None:
    class Screening(Chain):
        def ask(self, history: History, rng: Random) -> Proposal:
            return Proposal(0, (PruneLayer(),), epochs=None if len(history) % 3 == 0 else 0)

    def look(number: int, proposal: Proposal) -> DoneTrial | ScreenedTrial:
        if not proposal.screens:
            return succeed(number, proposal)
        if number % 3 == 1:
            raise TrialFailed("no memory")
        done = make_done(number, proposal)
        return ScreenedTrial(number, proposal, done.arch, 0.3, 0.5, done.counts, 1.0)

    records = Records()
    why = go(Screening(), records, look, trials=2)
    assert why == "all 2 trials are done"
    assert [trial.status for trial in records()[1:]] == ["failed", "screened", "done"] * 2


def test_five_failures_in_a_row_end_it() -> None:
    records = Records()
    with pytest.raises(RunFailed, match="5 trials in a row failed; the last one: trial 5 is unlucky"):
        go(Chain(), records, fail, trials=50)
    assert len(records.trials) == 6


def test_time_up_and_an_empty_space_are_reasons_to_stop() -> None:
    records = Records()
    times = iter([True, True, False])
    why = go(Chain(), records, succeed, trials=9, keep_going=lambda: next(times))
    assert why == "the time is used up after 2 of 9 trials"
    why = go(Chain(end=3), records, succeed, trials=9)
    assert why == "nothing is left (after 3 of 9 trials)"


def test_the_seed_decides_the_random_numbers_of_each_trial() -> None:
    asked = []
    for seed in (1, 1, 2):
        chain, records = Chain(), Records()
        go(chain, records, succeed, trials=3, seed=seed)
        asked.append(chain.asked)
    assert asked[0] == asked[1] and asked[0] != asked[2]
    assert len({value for _, value in asked[0]}) == 3


class Screening:
    """Screens two students for each that it trains."""

    def ask(self, history: History, rng: Random) -> Proposal:
        return Proposal(0, (PruneLayer(),), note=f"{rng.random()}", epochs=None if len(history) % 3 == 0 else 0)


def look(number: int, proposal: Proposal) -> DoneTrial | ScreenedTrial:
    done = make_done(number, proposal)
    return ScreenedTrial(number, proposal, done.arch, 0.3, 0.5, done.counts, 2.0) if proposal.screens else done


def test_students_that_are_only_screened_do_not_count() -> None:
    records = Records()
    why = go(Screening(), records, look, trials=2)
    assert why == "all 2 trials are done"
    assert [trial.status for trial in records()] == [
        "done",
        "screened",
        "screened",
        "done",
        "screened",
        "screened",
        "done",
    ]
    assert count_students(records()) == 2


def test_a_search_killed_while_it_screens_ends_with_the_same_trials() -> None:
    whole, records = Records(), Records()
    go(Screening(), whole, look, trials=2)

    def killed_at_five(number: int, proposal: Proposal) -> DoneTrial | ScreenedTrial:
        if number == 5:
            raise KeyboardInterrupt
        return look(number, proposal)

    with pytest.raises(KeyboardInterrupt):
        go(Screening(), records, killed_at_five, trials=2)
    assert records.trials[5].status == "pending" and count_students(records()) == 1
    go(Screening(), records, look, trials=2)
    assert records() == whole()
