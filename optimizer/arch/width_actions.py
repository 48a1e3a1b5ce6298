"""Actions of ours that narrow the detector around its body: pyramid, RPN and box head; deconvolutions and branches.

The paper prunes the body alone, and then the neck and the heads are most of what is left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

from optimizer.arch.bounds import Bounds
from optimizer.arch.edits import Edit, IllegalAction, Importance, PlainAction, keep_blocks
from optimizer.arch.parts import Part
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError

__all__ = ["PruneBoxHead", "PruneBranches", "PruneDeconv", "PruneFPN", "PruneRPN"]

W = TypeVar("W", bound="_PruneWidth")
P = TypeVar("P", bound=Part)


@dataclass(frozen=True)
class _PruneWidth(PlainAction):
    """A width made smaller by a share of itself; which channels stay is inheritance's choice (`morph.neck`).

    Attributes:
        part: the width, by its name in `ArchSpec.outer_widths`, or the beginning of several: then all of them that are
            not at the floor.
        ratio: share of the width to drop; rounding and the floor may change it.
        round_to: the new width is a multiple of it.
        min_width: the new width is not below it.
    """

    part: ClassVar[str]
    prunes = True
    ratio: float = 0.25
    round_to: int = 8
    min_width: int = 32

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1 or min(self.round_to, self.min_width) < 1:
            raise InputError(f"pruning a width needs a ratio between 0 and 1, rounding and floor from 1, not {self}")

    @classmethod
    def list_candidates(cls: type[W], bounds: Bounds) -> Iterable[W]:
        return [cls(bounds.width_ratio, bounds.round_to, bounds.floor(cls.part))]

    def apply(self, arch: ArchSpec, importance: Importance) -> Edit:
        neck, head = self._narrow(arch.neck), self._narrow(arch.head)
        if (neck, head) == (arch.neck, arch.head):
            widths = [width for name, width in arch.outer_widths.items() if name.startswith(self.part)]
            if not widths:
                raise IllegalAction(f"a detector of kind {arch.head.kind} has no {self.part}")
            raise IllegalAction(
                f"the {self.part}'s width of {max(widths)} cannot be pruned below its floor of {self.min_width}"
            )
        return keep_blocks(arch, replace(arch, neck=neck, head=head))

    def _narrow(self, owner: P) -> P:
        for name, width in owner.widths.items():
            if name.startswith(self.part):
                owner = owner.with_width(name, min(width, self._shrink(width)))
        return owner

    def _shrink(self, width: int) -> int:
        """The largest multiple of `round_to` that is at most the share of `width` to keep, or else the floor."""
        wanted = int(width * (1 - self.ratio) + 1e-9) // self.round_to * self.round_to
        floor = -(-self.min_width // self.round_to) * self.round_to
        return max(wanted, floor)


@dataclass(frozen=True)
class PruneFPN(_PruneWidth):
    """Narrow every level of the pyramid, and with it what the heads read; a RetinaNet's towers are as wide as it is."""

    kind = "prune_fpn"
    part = "FPN"


@dataclass(frozen=True)
class PruneRPN(_PruneWidth):
    """Narrow the 3x3 convolution of a Faster R-CNN's RPN."""

    kind = "prune_rpn"
    part = "RPN"


@dataclass(frozen=True)
class PruneBoxHead(_PruneWidth):
    """Narrow both hidden layers of a Faster R-CNN's box head."""

    kind = "prune_box_head"
    part = "box head"
    min_width: int = 128


@dataclass(frozen=True)
class PruneDeconv(_PruneWidth):
    """Narrow all three transposed convolutions of a CenterNet's neck, and with the last of them what its head reads."""

    kind = "prune_deconv"
    part = "deconvolution"


@dataclass(frozen=True)
class PruneBranches(_PruneWidth):
    """Narrow the hidden layers of a CenterNet's three branches."""

    kind = "prune_branches"
    part = "branches"
