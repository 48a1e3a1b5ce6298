"""Actions on a trained detector: architecture and weights move together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from optimizer.arch import Action, ArchSpec, Edit, count
from optimizer.morph.compensate import Moments, compensate
from optimizer.morph.importance import measure_importance
from optimizer.morph.inherit import inherit

__all__ = ["Morphed", "morph"]


@dataclass(frozen=True)
class Morphed:
    """A student as the actions left it, before any training.

    Attributes:
        weights: state dict of `arch`, in memory of its own.
        edits: what each action came to, in order.
    """

    weights: dict[str, Tensor]
    arch: ArchSpec
    edits: tuple[Edit, ...]


def morph(
    weights: Mapping[str, Tensor],
    arch: ArchSpec,
    actions: Sequence[Action],
    ranked_by: Mapping[str, Tensor] | None = None,
    moments: Moments | None = None,
) -> Morphed:
    """The detector after these actions in order, importance measured anew before each.

    Args:
        ranked_by: what importance is read off instead of the weights themselves, a tensor like each of theirs under
            its name: `measure_saliency`'s, or the weights of the network that the order of channels was settled with.
        moments: what the parent's layers read, by `measure_moments`; with them readers make up for dropped channels.

    Raises:
        IllegalAction: an architecture on the way does not admit its action.
    """
    student = Morphed({name: tensor.detach().clone() for name, tensor in weights.items()}, arch, ())
    for action in actions:
        ranks = student.weights if ranked_by is None else ranked_by
        edit = action.apply(student.arch, measure_importance(ranks, student.arch))
        if action.prunes:
            _assert_cheaper(edit)
        kept = student.weights
        if moments is not None:
            kept, moments = compensate(kept, edit, moments, ranks)
        student = Morphed(inherit(kept, edit, ranks), edit.child, (*student.edits, edit))
        ranked_by = None if ranked_by is None else inherit(ranked_by, edit)
    return student


def _assert_cheaper(edit: Edit) -> None:
    """Pruning that saves nothing is the field's commonest silent failure."""
    before, after = count(edit.parent), count(edit.child)
    assert after.params < before.params and after.macs < before.macs, f"pruning turned {before} into {after}"
