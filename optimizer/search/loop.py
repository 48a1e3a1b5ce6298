"""Ask, evaluate, record, until the trials are done or time is up. Knows neither torch nor the store."""

from __future__ import annotations

from collections.abc import Callable
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

__all__ = ["draw_numbers", "search", "try_proposal"]

MAX_FAILURES_IN_A_ROW = 5
Complete: TypeAlias = Callable[[Proposal, History, Random], Proposal]
Evaluate: TypeAlias = Callable[[int, Proposal], DoneTrial | ScreenedTrial]


def search(
    strategy: SearchStrategy,
    history: Callable[[], History],
    evaluate: Evaluate,
    record: Callable[[Trial], None],
    *,
    seed: int,
    trials: int | None,
    keep_going: Callable[[], bool],
    complete: Complete = lambda proposal, history, rng: proposal,
) -> str:
    """Run until as many students are recorded as `trials` says, None being no limit; returns why it stopped, in words.

    `complete` adds to what the strategy proposes. Trial 0, the base, is done before this is called. Students that are
    only screened do not count, nor do those whose screening failed.

    Raises:
        RunFailed: five trials in a row could not be evaluated.
    """
    of_all = "students" if trials is None else f"of {trials} trials"
    while True:
        past = history()
        finished = [trial for trial in past if not isinstance(trial, PendingTrial)]
        number = len(finished)
        students = count_students(finished)
        if trials is not None and students >= trials:
            return f"all {trials} trials are done"
        owed = None
        if not keep_going():
            owed = strategy.conclude(finished) if isinstance(strategy, Concluding) else None
            if owed is None:
                return f"the time is used up after {students} {of_all}"
        pending = [trial for trial in past if isinstance(trial, PendingTrial)]
        if owed is None and pending:
            number, proposal = pending[0].number, pending[0].proposal
        else:
            rng = draw_numbers(seed, number)
            try:
                proposal = complete(owed or strategy.ask(finished, rng), finished, rng)
            except SpaceExhausted as error:
                return f"{error} (after {students} {of_all})"
        trial = try_proposal(number, proposal, evaluate, record)
        if isinstance(trial, FailedTrial) and _count_last_failures([*finished, trial]) >= MAX_FAILURES_IN_A_ROW:
            raise RunFailed(f"{MAX_FAILURES_IN_A_ROW} trials in a row failed; the last one: {trial.error}")


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
