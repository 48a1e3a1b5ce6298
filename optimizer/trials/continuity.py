"""A child goes on where its parent's training stopped: what that left besides the weights is cut like the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from optimizer.arch.edits import Edit
from optimizer.morph import inherit
from optimizer.train.state import MODEL, STEP, TrainState

__all__ = ["carry_over", "without_adapters"]

Tensors = Mapping[str, Tensor]
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def carry_over(
    state: TrainState, weights: Tensors, edits: Sequence[Edit], ranked_by: Tensors | None = None
) -> TrainState:
    """The state for a child, out of that of its parent's training.

    The same channels stay as in `morph`. What is new in the child begins as in a new training: as far as its average,
    with moments of 0, after no steps. Adapters stay; those that do not fit the child are left aside later.

    Args:
        weights: the parent's. edits: what the actions came to. ranked_by: as `morph` was given it.
    """
    ranks: Tensors = weights if ranked_by is None else ranked_by
    carried = {kind: _spread(tensors, weights) for kind, tensors in state.moments.items()}
    carried["ahead"] = _spread({MODEL + name: value for name, value in state.ahead.items()}, weights)
    is_old = {name: torch.full_like(value, torch.nan, dtype=torch.float32) for name, value in weights.items()}
    for edit in edits:
        carried = {kind: inherit(tensors, edit, ranks) for kind, tensors in carried.items()}
        is_old, ranks = inherit(is_old, edit, ranks), inherit(ranks, edit)
    kept = {name: value.isnan() for name, value in is_old.items() if not name.endswith(BUFFERS)}
    carried = {
        kind: {name: torch.where(mask, tensors[name], 0.0) for name, mask in kept.items()}
        for kind, tensors in carried.items()
    }
    ahead = carried.pop("ahead")
    moments = {
        kind: _adapters_of(state.moments[kind])
        | {MODEL + name: value.max() if kind == "step" else value for name, value in tensors.items()}
        for kind, tensors in carried.items()
    }
    return replace(state, ahead=ahead if state.ahead else {}, moments=moments)


def without_adapters(state: TrainState) -> TrainState:
    """The same for another teacher, to whom other adapters lead."""
    moments = {
        kind: {name: value for name, value in tensors.items() if name.startswith(MODEL)}
        for kind, tensors in state.moments.items()
    }
    return replace(state, step={}, moments=moments)


def _adapters_of(tensors: Tensors) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if name.startswith(STEP)}


def _spread(tensors: Tensors, weights: Tensors) -> dict[str, Tensor]:
    """A tensor like each of the weights, 0 where there is none; a count of steps is that of each element."""
    spread = {name: torch.zeros_like(value, dtype=torch.float32) for name, value in weights.items()}
    for name, value in tensors.items():
        if name.startswith(MODEL):
            plain = name.removeprefix(MODEL)
            spread[plain] = value.float().expand(weights[plain].shape).clone()
    return spread
