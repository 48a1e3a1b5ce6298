"""Actions that change what the network is shown or proposes, and no weight."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from optimizer.arch.bounds import Bounds
from optimizer.arch.edits import Action, Edit, IllegalAction, Importance, PlainAction, keep_blocks
from optimizer.arch.spec import MIN_SIDE_PX, ArchSpec
from optimizer.errors import InputError

__all__ = ["Resize", "SetRegionProposals"]


@dataclass(frozen=True)
class Resize(PlainAction):
    """Change the canvas to `size`, (width, height) in pixels; the anchor scale stays, because the weights know it."""

    kind = "resize"
    of_canvas = True
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < MIN_SIDE_PX:
            size = "x".join(str(side) for side in self.size)
            raise InputError(f"a canvas has two sides of at least {MIN_SIDE_PX} pixels, not {size}")

    @classmethod
    def list_candidates(cls, bounds: Bounds) -> Iterable[Resize]:
        return [cls(size) for size in dict.fromkeys(bounds.sizes)]

    def overrides(self, other: Action) -> bool:
        return isinstance(other, Resize)

    def apply(self, arch: ArchSpec, importance: Importance) -> Edit:
        if self.size == arch.input_size:
            raise IllegalAction(f"the canvas is {self.size[0]}x{self.size[1]} already")
        return keep_blocks(arch, replace(arch, input_size=self.size))


@dataclass(frozen=True)
class SetRegionProposals(PlainAction):
    """Change how many region proposals reach the box head."""

    kind = "set_region_proposals"
    of_canvas = True
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"a detector has at least one region proposal, not {self.count}")

    @classmethod
    def list_candidates(cls, bounds: Bounds) -> Iterable[SetRegionProposals]:
        return [cls(count) for count in dict.fromkeys(bounds.region_proposals)]

    def overrides(self, other: Action) -> bool:
        return isinstance(other, SetRegionProposals)

    def apply(self, arch: ArchSpec, importance: Importance) -> Edit:
        if arch.head.region_proposals is None:
            raise IllegalAction(f"a detector of kind {arch.head.kind} has no region proposals")
        if self.count == arch.head.region_proposals:
            raise IllegalAction(f"the head has {self.count} region proposals already")
        return keep_blocks(arch, replace(arch, head=arch.head.propose(self.count)))
