"""What a saving by each kind of action costs in average precision, from a table and from this run's screenings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from optimizer.search.base import History, ScreenedTrial, get_done, list_screened
from optimizer.search.nonnegative import fit_nonnegative
from optimizer.search.predictor import LatencyPredictor
from optimizer.search.sizing import list_savings

__all__ = ["PRIOR", "fit_sensitivities"]

# ln(AP before / after) over (ln(operations before / after))^2 of one edit of a trained-out r18 at 320x240, its
# BatchNorm measured anew; the square fits the measured pairs of sizes of the widths better than a straight line.
PRIOR: Mapping[str, float] = {
    "set_region_proposals": 0.1,
    "prune_rpn": 0.8,
    "prune_fpn": 2.0,
    "resize": 5.0,
    "prune_box_head": 16.0,
    "prune_channels": 18.0,
    "prune_layer": 100.0,
    "prune_branches": 0.8,  # this and the next were not measured: those of an RPN and a pyramid
    "prune_deconv": 2.0,
}
UNKNOWN = 10.0  # of a kind that is not in the table
LEAST = 0.1
NOISE = 0.05  # of ln(AP) between students that are screened
LOWEST_AP = 0.01
RECENT = 60


def fit_sensitivities(history: History, predictor: LatencyPredictor, kinds: Sequence[str]) -> dict[str, float]:
    """The damage of each kind: ln(AP before / after) is the sum of each over the square of its ln(latency) saved.

    AP before is known on other images than those of a screening, so it is an unknown for each parent too.
    """
    screened = list_screened(history)[-RECENT:]
    parents = list(dict.fromkeys(trial.proposal.parent for trial in screened))
    rows, lost = [], []
    for trial in screened:
        squares = _square_savings(history, trial, predictor)
        if squares is not None:
            rows.append([*(squares.get(kind, 0.0) for kind in kinds), *(trial.proposal.parent == p for p in parents)])
            lost.append(-math.log(max(trial.ap, LOWEST_AP)))
    prior = [PRIOR.get(kind, UNKNOWN) for kind in kinds]
    before = [-math.log(max(get_done(history, parent).ap, LOWEST_AP)) for parent in parents if parent is not None]
    fitted = fit_nonnegative(
        rows, lost, [NOISE] * len(lost), [*prior, *before], [*(value / 2 for value in prior), *(0.3 for _ in before)]
    )
    return {kind: max(value, LEAST) for kind, value in zip(kinds, fitted)}


def _square_savings(history: History, trial: ScreenedTrial, predictor: LatencyPredictor) -> dict[str, float] | None:
    assert trial.proposal.parent is not None
    parent = get_done(history, trial.proposal.parent).arch
    savings = list_savings(parent, trial.proposal.actions, predictor)
    if savings is None:
        return None
    return {action.kind: saving**2 for action, saving in zip(trial.proposal.actions, savings)}
