"""Ask, evaluate, record, until the trials are done or time is up. Knows neither torch nor the store."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from optimizer.errors import RunFailed
from optimizer.search.base import History, Proposal, SearchStrategy, SpaceExhausted, Trial, TrialFailed
from optimizer.seeds import derive_seed

__all__ = ["search"]

MAX_FAILURES_IN_A_ROW = 5


def search(
    strategy: SearchStrategy,
    history: Callable[[], History],
    evaluate: Callable[[int, Proposal], Trial],
    record: Callable[[Trial], None],
    *,
    seed: int,
    trials: int,
    keep_going: Callable[[], bool],
) -> str:
    """Run until trial number `trials` is recorded; returns why it stopped, in words.

    Every trial is recorded twice: as pending before it is evaluated, so that a killed run repeats that very proposal,
    and with its figures afterwards. Trial 0, the base, is done before this is called.

    Raises:
        RunFailed: five trials in a row could not be evaluated.
    """
    while True:
        past = history()
        finished = [trial for trial in past if trial.status != "pending"]
        number = len(finished)
        if number > trials:
            return f"all {trials} trials are done"
        if not keep_going():
            return f"the time is used up after {number - 1} of {trials} trials"
        pending = [trial for trial in past if trial.status == "pending"]
        if pending:
            proposal = pending[0].proposal
        else:
            try:
                proposal = strategy.ask(finished, Random(derive_seed(seed, "trial", number)))
            except SpaceExhausted as error:
                return f"{error} (after {number - 1} of {trials} trials)"
            record(Trial(number=number, proposal=proposal))
        try:
            trial = evaluate(number, proposal)
        except TrialFailed as error:
            trial = Trial(number=number, proposal=proposal, status="failed", error=str(error))
        record(trial)
        recent = [*finished, trial][-MAX_FAILURES_IN_A_ROW:]
        if len(recent) == MAX_FAILURES_IN_A_ROW and all(item.status == "failed" for item in recent):
            raise RunFailed(f"{MAX_FAILURES_IN_A_ROW} trials in a row failed; the last one: {trial.error}")
