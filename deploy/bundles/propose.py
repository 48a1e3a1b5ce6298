"""Which head a model's outputs are of, by their names and shapes, and why."""

from __future__ import annotations

from typing import NamedTuple, Sequence

from deploy.engines.base import TensorSpec
from deploy.errors import InputError
from deploy.pipeline.batch import find_layout
from deploy.pipeline.decode import HEADS, Size

__all__ = ["Proposal", "propose_head"]


class Proposal(NamedTuple):
    """A head's name, and a reason for a reader."""

    head: str
    why: str


def propose_head(outputs: Sequence[TensorSpec], images: int, size: Size, class_count: int) -> Proposal:
    """The head that fits a model with these outputs; of several, the one that tells as many classes apart as are named.

    Raises:
        InputError: none fits, or several do; each is named.
    """
    fitting = _find_fitting(outputs, images, size)
    shown = ", ".join(map(str, outputs)) or "no outputs"
    if not fitting:
        listed = "; ".join(f"{name}: {head.summary}" for name, head in HEADS.items())
        raise InputError(
            f"the outputs {shown} are of no head that is known; say which with --head. There are: {listed}"
        )
    exact = [name for name, count in fitting.items() if count == class_count]
    chosen = exact or list(fitting)
    if len(chosen) > 1:
        raise InputError(f"the outputs {shown} may be of the heads {', '.join(chosen)}; say which with --head")
    name = chosen[0]
    counted = f", {class_count} classes as named" if name in exact else ""
    others = [other for other in fitting if other != name]
    rather = f" (and not {', '.join(others)}: another number of classes)" if others else ""
    return Proposal(name, f"{shown}{counted}: {HEADS[name].summary}{rather}")


def _find_fitting(outputs: Sequence[TensorSpec], images: int, size: Size) -> dict[str, int | None]:
    """How many classes each head that fits tells apart; those that take the outputs as they are come alone."""
    plain: dict[str, int | None] = {}
    divided: dict[str, int | None] = {}
    for name, head in HEADS.items():
        try:
            divided[name] = find_layout(head, outputs, images, size).class_count
            if images == 1:
                plain[name] = head.count_classes(outputs, size)
        except InputError:
            continue
    return plain or divided
