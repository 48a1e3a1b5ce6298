"""What this package asks of a space of paths, and the few things that follow from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Cost", "Floats", "Genes", "Mask", "PathSpace", "Score", "Slot", "count_tokens", "find_ends", "find_layer_slots",
    "identify", "list_choices", "make_canonical",
]  # fmt: skip

Genes = NDArray[np.int64]  # (paths, slots)
Floats = NDArray[np.float64]  # (paths,)
Mask = NDArray[np.bool_]  # (slots, most choices of a slot), or one of them per path
Cost = Callable[[Genes], Floats]
Score = Callable[[Genes], Floats]  # higher is better, among paths of one bucket


class Slot(Protocol):
    """One choice that a path makes."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str:
        """Either "depth" or "width" of a stage, or "expand" of a block."""
        ...

    @property
    def stage(self) -> int: ...

    @property
    def block(self) -> int | None:
        """The block within the stage; None where the choice is the stage's."""
        ...

    @property
    def choices(self) -> Sequence[Any]:
        """Ascending: the first makes the smallest network, the last the largest."""
        ...


class PathSpace(Protocol):
    """Paths of a super-network whose stages have a depth and a width, and whose blocks have a ratio of expansion.

    What genes say of a block that does not run is left aside. `OfaSpace` of `arch/ofa_space.py` is such a space.
    """

    @property
    def slots(self) -> Sequence[Slot]: ...

    @property
    def layers(self) -> Sequence[tuple[int, int]]:
        """Stage and block of each layer of the largest path, in the order data flows."""
        ...

    def tokens(self, genes: Genes) -> NDArray[np.int64]:
        """Of each path and layer (paths, layers): 0 where the layer is skipped, else 1 + its pair of choices."""
        ...

    def cost(self, genes: Genes) -> Floats:
        """Multiply-accumulates of each path."""
        ...


def list_choices(space: PathSpace) -> Mask:
    """Which choices each slot has (slots, most choices of a slot)."""
    counts = np.array([len(slot.choices) for slot in space.slots])
    mask: Mask = np.arange(counts.max()) < counts[:, None]
    return mask


def find_ends(space: PathSpace) -> Genes:
    """The smallest and the largest path (2, slots)."""
    largest = [len(slot.choices) - 1 for slot in space.slots]
    return make_canonical(space, np.array([[0] * len(largest), largest], dtype=np.int64))


def make_canonical(space: PathSpace, genes: Genes) -> Genes:
    """Copies in which blocks that a path skips have gene 0, so that equal paths have equal genes."""
    own, skipped = find_layer_slots(space), space.tokens(genes) == 0
    canonical = genes.copy()
    canonical[:, own] = np.where(skipped, 0, genes[:, own])
    return canonical


def find_layer_slots(space: PathSpace) -> NDArray[np.int64]:
    """The slot of each layer's own choice (layers,)."""
    places = {(slot.stage, slot.block): number for number, slot in enumerate(space.slots) if slot.block is not None}
    return np.array([places[layer] for layer in space.layers], dtype=np.int64)


def count_tokens(space: PathSpace) -> int:
    """How many different tokens there may be, that of a skipped layer included."""
    most = {kind: max(len(slot.choices) for slot in space.slots if slot.kind == kind) for kind in ("width", "expand")}
    return 1 + most["width"] * most["expand"]


def identify(space: PathSpace) -> str:
    """12 hexadecimal digits that spaces share whose slots and layers are the same."""
    slots = [[slot.name, slot.kind, slot.stage, slot.block, [*slot.choices]] for slot in space.slots]
    text = json.dumps({"slots": slots, "layers": [[*layer] for layer in space.layers]})
    return hashlib.sha256(text.encode()).hexdigest()[:12]
