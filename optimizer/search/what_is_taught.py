"""Which set of distillers teaches the next student, by what came of each so far.

Thompson sampling: a set is drawn as often as it is likely to be the best one, by the scores that students gained over
their parents when they were taught so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from statistics import fmean, pstdev

from optimizer.search.base import History, Proposal, list_done

__all__ = ["choose_set", "name_set"]

LEAST_SPREAD = 0.005  # of a gain in score: that of two trainings of one student


def name_set(proposal: Proposal, sets: Sequence[str], history: History, rng: Random) -> Proposal:
    """The proposal with a set of distillers; as it is where it is only looked at or where there is nothing to choose.

    The training at the end of a run goes on with what taught the student before.
    """
    if proposal.screens or proposal.finetune or not sets:
        return proposal
    return replace(proposal, taught=choose_set(sets, history, rng))


def choose_set(sets: Sequence[str], history: History, rng: Random) -> str:
    """One of the sets: each that was not tried yet, in their order, then by what they gained."""
    scores = {trial.number: trial.score for trial in list_done(history)}
    gains: dict[str, list[float]] = {name: [] for name in sets}
    for trial in list_done(history):
        parent = trial.proposal.parent if trial.proposal.parent is not None else 0
        if trial.number and trial.proposal.taught in gains and parent in scores:
            gains[trial.proposal.taught].append(trial.score - scores[parent])
    untried = [name for name in sets if not gains[name]]
    if untried:
        return untried[0]
    spread = max(LEAST_SPREAD, fmean(pstdev(found) for found in gains.values()))
    drawn = {name: rng.gauss(fmean(found), spread / len(found) ** 0.5) for name, found in gains.items()}
    return max(sets, key=lambda name: drawn[name])
