"""Edits of an architecture as data: what is wanted (`Action`), and what it came to (`Edit`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol

from optimizer.arch.bodies.base import Position
from optimizer.arch.bounds import Bounds
from optimizer.arch.parts import IllegalAction
from optimizer.arch.spec import ArchSpec

__all__ = ["Action", "Edit", "IllegalAction", "Importance", "PlainAction", "Position", "keep_blocks"]


@dataclass(frozen=True)
class Importance:
    """How much each prunable part of a trained detector matters, as plain numbers.

    Attributes:
        channels: magnitude of the deciding BatchNorm scale of each channel, by `ChannelGroup.names`.
        blocks: L1 norm of each block's parameters.
    """

    channels: Mapping[str, tuple[float, ...]]
    blocks: Mapping[Position, float]


@dataclass(frozen=True)
class Edit:
    """One applied action: enough to replay it on weights.

    The child's widths say how many channels stay; which ones, `kept_channels` says from the parent's importance.

    Attributes:
        parent, child: the architecture before and after.
        sources: for each block of each child stage the parent's block its weights come from; None is a new block.
    """

    parent: ArchSpec
    child: ArchSpec
    sources: tuple[tuple[Position | None, ...], ...]

    @property
    def keeps_blocks(self) -> bool:
        """Whether every block stays in its place and is what it was, but for its widths."""
        if self.sources != _list_places(self.parent):
            return False
        pairs = zip(self.parent.body.blocks(), self.child.body.blocks())
        return all(replace(after, widths=before.widths) == before for (_, _, before), (_, _, after) in pairs)

    def list_new_layers(self) -> list[str]:
        """The layers of blocks with a source that have no weights to take over, by their names in the child's body."""
        parent, new = self.parent.body.layers(), []
        for (stage, index), layers in self.child.body.layers().items():
            source = self.sources[stage][index]
            if source is not None:
                before = self.parent.body.stages[source[0]].blocks[source[1]]
                block = self.child.body.stages[stage].blocks[index]
                known = {layer.conv for layer in parent[source]}
                name = self.child.body.name_block((stage, index))
                new += [f"{name}.{layer.conv}" for layer in layers if block.name_origin(layer, before) not in known]
        return new


def merge_edits(edits: Sequence[Edit]) -> Edit:
    """One edit from the parent of the first of a chain to the child of the last.

    Which channels it keeps is then decided once, by what the first parent's matter.
    """
    sources = edits[0].sources
    for edit in edits[1:]:
        sources = tuple(
            tuple(None if place is None else sources[place[0]][place[1]] for place in stage) for stage in edit.sources
        )
    return Edit(edits[0].parent, edits[-1].child, sources)


class Action(Protocol):
    """A wish such as "prune 10 % of the channels"; a frozen dataclass that JSON can hold."""

    def __hash__(self) -> int: ...

    @property
    def kind(self) -> str: ...

    @property
    def prunes(self) -> bool: ...

    @property
    def of_canvas(self) -> bool: ...

    def apply(self, arch: ArchSpec, importance: Importance) -> Edit:
        """The edit this action comes to on a trained parent; raises `IllegalAction` where it cannot be done.

        Whether it can depends on the architecture alone, never on the importance.
        """
        ...

    def overrides(self, other: Action) -> bool:
        """Whether nothing is left of an earlier action after this one, which decides the same thing anew."""
        ...

    def to_json(self) -> dict[str, Any]: ...

    @classmethod
    def list_candidates(cls, bounds: Bounds) -> Iterable[Action]:
        """Every action of this kind within the bounds, in a fixed order, whatever the architecture."""
        ...


@dataclass(frozen=True)
class PlainAction:
    """An action whose fields are its JSON.

    Attributes:
        prunes: whether the child is smaller by design; `morph` makes sure that it is.
        of_canvas: whether it changes what the network is shown or proposes, and no weight.
    """

    kind: ClassVar[str]
    prunes: ClassVar[bool] = False
    of_canvas: ClassVar[bool] = False

    def overrides(self, other: Action) -> bool:
        return False

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **{field.name: getattr(self, field.name) for field in fields(self)}}


def keep_blocks(parent: ArchSpec, child: ArchSpec) -> Edit:
    """The edit of a child that differs from its parent outside the body only."""
    return Edit(parent, child, _list_places(parent))


def _list_places(arch: ArchSpec) -> tuple[tuple[Position, ...], ...]:
    return tuple(tuple((stage, block) for block in range(depth)) for stage, depth in enumerate(arch.body.depths))
