"""The loop of `optimizer.search.loop`, with several proposals evaluated at once. Knows neither torch nor the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from optimizer.search.base import FailedTrial, PendingTrial, Proposal, SpaceExhausted, Trial
from optimizer.search.loop import Search, give_up_after

__all__ = ["Workers", "search_at_once"]

IN_HAND = "in hand"


class Workers(Protocol):
    """Evaluate proposals, some at a time."""

    @property
    def free(self) -> int:
        """How many proposals can be started now."""
        ...

    def start(self, number: int, proposal: Proposal) -> None:
        """Begin to evaluate one."""
        ...

    def collect(self) -> Sequence[Trial]:
        """Those that have ended, done or failed; waits until one has, or somebody is free for another one."""
        ...


def search_at_once(of: Search, workers: Workers) -> str:
    """As `optimizer.search.loop.search`, with as many proposals at once as the workers take.

    A strategy sees what is in hand as if it had failed: tried, of unknown worth, and nobody's parent. Where students
    are looked at before one of them is trained, all looks are waited for. Which proposals there are follows from the
    seed and from the order in which trials end.

    Raises:
        RunFailed: five trials that ended one after the other could not be evaluated.
    """
    waiting = [trial for trial in of.history() if isinstance(trial, PendingTrial)]  # of a run that was killed
    in_hand: set[int] = set()
    failures, why, has_to_wait = 0, None, False
    while True:
        while workers.free and why is None and not has_to_wait:
            if waiting:
                trial = waiting.pop(0)
            else:
                found = _ask(of, in_hand)
                if found is None:
                    has_to_wait = True
                    break
                if isinstance(found, str):
                    why = found
                    break
                trial = found
                of.record(trial)
            workers.start(trial.number, trial.proposal)
            in_hand.add(trial.number)
        if not in_hand:
            assert why is not None, "nothing is in hand, and nothing was asked for"
            return why
        for ended in workers.collect():
            in_hand.discard(ended.number)
            has_to_wait = False
            of.record(ended)
            failures = failures + 1 if isinstance(ended, FailedTrial) else 0
            if isinstance(ended, FailedTrial):
                give_up_after(failures, ended)


def _ask(of: Search, in_hand: set[int]) -> PendingTrial | str | None:
    """What to evaluate next; why there is nothing more; or None, where what is in hand has to end first."""
    past = of.history()
    seen = [FailedTrial(t.number, t.proposal, IN_HAND) if isinstance(t, PendingTrial) else t for t in past]
    all_done = of.find_all_done(seen)
    if all_done is not None:
        return all_done
    if not of.keep_going():
        return of.tell_time_is_up(seen)
    number = len(past)
    try:
        proposal = of.propose(number, seen)
    except SpaceExhausted as error:
        return None if in_hand else of.tell_exhausted(error, seen)
    looks = [trial for trial in past if isinstance(trial, PendingTrial) and trial.proposal.screens]
    return None if looks and not proposal.screens else PendingTrial(number, proposal)
