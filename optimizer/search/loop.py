"""Ask, evaluate, record, until the trials are done or time is up. Knows neither torch nor the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from random import Random
from typing import TypeAlias

from optimizer.errors import RunFailed
from optimizer.search.base import (
    Concluding,
    DoneTrial,
    FailedTrial,
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
from optimizer.seeds import derive_seed

__all__ = ["Search", "draw_numbers", "search", "try_proposal"]

MAX_FAILURES_IN_A_ROW = 5
Complete: TypeAlias = Callable[[Proposal, History, Random], Proposal]
Evaluate: TypeAlias = Callable[[int, Proposal], DoneTrial | ScreenedTrial]


@dataclass(frozen=True)
class Search:
    """What is searched and until when, whether proposals are evaluated one by one or several at once.

    Attributes:
        history: all trials so far; the first is the base, done before any search. record: keeps one.
        trials: students after which it ends; None is no limit. Those that are only screened do not count, nor do those
            whose screening failed.
        keep_going: whether there is time for another one.
        complete: adds to what the strategy proposes.
    """

    strategy: SearchStrategy
    history: Callable[[], History]
    record: Callable[[Trial], None]
    seed: int
    trials: int | None
    keep_going: Callable[[], bool]
    complete: Complete = lambda proposal, history, rng: proposal

    def find_all_done(self, past: History) -> str | None:
        """That all students are there; None while some are to come."""
        is_done = self.trials is not None and count_students(past) >= self.trials
        return f"all {self.trials} trials are done" if is_done else None

    def propose(self, number: int, past: History, owed: Proposal | None = None) -> Proposal:
        """What to evaluate under this number after these trials; what is `owed` is completed as any other.

        Raises:
            SpaceExhausted: the strategy has nothing left.
        """
        rng = draw_numbers(self.seed, number)
        return self.complete(owed or self.strategy.ask(past, rng), past, rng)

    def tell_time_is_up(self, past: History) -> str:
        return f"the time is used up after {self._count(past)}"

    def tell_exhausted(self, error: SpaceExhausted, past: History) -> str:
        return f"{error} (after {self._count(past)})"

    def _count(self, past: History) -> str:
        return f"{count_students(past)} {'students' if self.trials is None else f'of {self.trials} trials'}"


def search(of: Search, evaluate: Evaluate) -> str:
    """Evaluate one proposal after the other until all is done or time is up; returns why it stopped, in words.

    Raises:
        RunFailed: five trials in a row could not be evaluated.
    """
    while True:
        past = of.history()
        finished = [trial for trial in past if not isinstance(trial, PendingTrial)]
        number = len(finished)
        all_done = of.find_all_done(finished)
        if all_done is not None:
            return all_done
        owed = None
        if not of.keep_going():
            owed = of.strategy.conclude(finished) if isinstance(of.strategy, Concluding) else None
            if owed is None:
                return of.tell_time_is_up(finished)
        pending = [trial for trial in past if isinstance(trial, PendingTrial)]
        if owed is None and pending:
            number, proposal = pending[0].number, pending[0].proposal
        else:
            try:
                proposal = of.propose(number, finished, owed)
            except SpaceExhausted as error:
                return of.tell_exhausted(error, finished)
        trial = try_proposal(number, proposal, evaluate, of.record)
        if isinstance(trial, FailedTrial):
            give_up_after(_count_last_failures([*finished, trial]), trial)


def give_up_after(failures: int, last: FailedTrial) -> None:
    """End a run of which too many trials failed one after the other.

    Raises:
        RunFailed: they are too many.
    """
    if failures >= MAX_FAILURES_IN_A_ROW:
        raise RunFailed(f"{MAX_FAILURES_IN_A_ROW} trials in a row failed; the last one: {last.error}")


def draw_numbers(seed: int, number: int) -> Random:
    """The random numbers of a run for what is proposed as this trial, the same whenever it is asked."""
    return Random(derive_seed(seed, "trial", number))


def try_proposal(number: int, proposal: Proposal, evaluate: Evaluate, record: Callable[[Trial], None]) -> Trial:
    """Evaluate one proposal; returns the trial, done or failed.

    It is recorded twice: as pending before it is evaluated, so that a killed run repeats that very proposal, and with
    its outcome afterwards.
    """
    record(PendingTrial(number, proposal))
    trial: Trial
    try:
        trial = evaluate(number, proposal)
    except TrialFailed as error:
        trial = FailedTrial(number, proposal, str(error))
    record(trial)
    return trial


def _count_last_failures(trials: History) -> int:
    return len(list(takewhile(lambda trial: isinstance(trial, FailedTrial), reversed(trials))))
