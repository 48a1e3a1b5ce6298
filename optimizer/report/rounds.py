"""The rounds of a search that screens students before it trains one of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, takewhile

from optimizer.search.base import DoneTrial, History, ScreenedTrial, Trial
from optimizer.search.evolution import is_of_body

__all__ = ["Round", "fold_rounds", "list_aims"]


@dataclass(frozen=True)
class Round:
    """Children of one trial that were screened one after the other, and what was trained of them.

    Attributes:
        parent, aim: as in their proposals.
        looks: the screenings, failed and pending ones too.
        chosen: which of them was trained, and `trained` the trial that did it; None where none was (yet).
    """

    parent: int | None
    aim: float | None
    looks: tuple[Trial, ...]
    chosen: int | None = None
    trained: int | None = None

    @property
    def best(self) -> ScreenedTrial | None:
        """The one that detected best untrained; None where every screening failed."""
        screened = (trial for trial in self.looks if isinstance(trial, ScreenedTrial))
        return max(screened, key=lambda trial: trial.ap, default=None)


def fold_rounds(history: History) -> list[Trial | Round]:
    """The trials in order, with the screenings of each round folded into one entry."""
    entries: list[Trial | Round] = []
    seen = 0
    for (screens, _, _), group in groupby(history, _find_round):
        trials = tuple(group)
        seen += len(trials)
        entries += [_make_round(trials, history[seen:])] if screens else trials
    return entries


def list_aims(history: History) -> list[float]:
    """The aims that rounds have had, slowest first; those that are shares of the base's latency or operations."""
    aims = {trial.proposal.aim for trial in history if trial.proposal.aim is not None}
    return sorted((aim for aim in aims if not is_of_body(aim)), reverse=True)


def _find_round(trial: Trial) -> tuple[bool, int | None, float | None]:
    proposal = trial.proposal
    return (True, proposal.parent, proposal.aim) if proposal.screens else (False, None, None)


def _make_round(looks: tuple[Trial, ...], later: History) -> Round:
    """The round of these screenings; whoever was trained of it comes before the next screening."""
    parent, aim = looks[0].proposal.parent, looks[0].proposal.aim
    numbers = {trial.proposal.actions: trial.number for trial in looks}
    for trial in takewhile(lambda trial: not trial.proposal.screens, later):
        same = isinstance(trial, DoneTrial) and trial.proposal.parent == parent
        if same and trial.proposal.actions in numbers:
            return Round(parent, aim, looks, numbers[trial.proposal.actions], trial.number)
    return Round(parent, aim, looks)
