"""Which architectures a search may visit, and which actions lead on from one of them."""

from __future__ import annotations

from dataclasses import dataclass

from optimizer.arch.actions import (
    ACTIONS,
    Action,
    AddLayer,
    IllegalAction,
    PruneBoxHead,
    PruneChannels,
    PruneFPN,
    PruneLayer,
    PruneRPN,
    Rearrange,
    Resize,
    SetRegionProposals,
    uniform_importance,
)
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError

__all__ = ["Space", "contains", "legal_actions"]


@dataclass(frozen=True)
class Space:
    """The bounds of a search and the granularity of its actions.

    Attributes:
        sizes: canvases (width, height) in pixels; the papers' four by default.
        region_proposals: choices for a head that has them.
        actions: kinds of action that may be proposed, from `ACTIONS`.
        max_depths: most blocks of each stage.
        min_width: narrowest convolution of the body.
        round_to, prune_ratio: of `PruneChannels`; all widths that are pruned become multiples of `round_to`.
        layer_norm: `PruneLayer.norm`.
        width_ratio: share of its width that the pyramid, the RPN or the box head loses in one action.
        min_neck_width: narrowest pyramid and RPN.
        min_box_width: narrowest box head of a Faster R-CNN.
    """

    sizes: tuple[tuple[int, int], ...] = ((512, 512), (800, 600), (1080, 720), (1333, 800))
    region_proposals: tuple[int, ...] = (1000,)
    actions: tuple[str, ...] = tuple(ACTIONS)
    max_depths: tuple[int, int, int, int] = (8, 8, 36, 8)
    min_width: int = 32
    round_to: int = 8
    prune_ratio: float = 0.1
    layer_norm: str = "sum"
    width_ratio: float = 0.25
    min_neck_width: int = 32
    min_box_width: int = 128

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.actions if kind not in ACTIONS]
        if unknown:
            raise InputError(f"there is no action {unknown[0]!r}; choose from {', '.join(ACTIONS)}")
        if not self.sizes or not self.region_proposals:
            raise InputError("a search space has at least one canvas size and one number of region proposals")
        if len(self.max_depths) != 4 or min(self.max_depths) < 1:
            raise InputError(f"greatest depths are four positive numbers, not {self.max_depths}")
        _list_candidates(self)  # an impossible size, ratio or norm is refused here, before any work

    def floor(self, name: str) -> int:
        """The least a width outside the body (one of `ArchSpec.outer_widths`) may be."""
        return self.min_box_width if name == PruneBoxHead.part else self.min_neck_width


def contains(arch: ArchSpec, space: Space) -> bool:
    """Whether canvas, head, depths and widths of an architecture are among those the space allows."""
    return (
        arch.input_size in space.sizes
        and arch.head.region_proposals in (None, *space.region_proposals)
        and all(width >= space.floor(name) for name, width in arch.outer_widths.items())
        and all(depth <= most for depth, most in zip(arch.body.depths, space.max_depths))
        and all(min(block.widths) >= space.min_width for _, _, block in arch.body.blocks())
    )


def legal_actions(arch: ArchSpec, space: Space) -> list[Action]:
    """Every action of the space that can be applied to this architecture, in a fixed order.

    No stage grows past its greatest depth; one that is deeper already may still shrink.
    """
    importance = uniform_importance(arch)
    legal = []
    for action in _list_candidates(space):
        try:
            depths = action.apply(arch, importance).child.body.depths
        except IllegalAction:
            continue
        if all(depth <= max(before, most) for depth, before, most in zip(depths, arch.body.depths, space.max_depths)):
            legal.append(action)
    return legal


def _list_candidates(space: Space) -> list[Action]:
    candidates: list[Action] = [
        PruneChannels(space.prune_ratio, space.round_to, space.min_width),
        PruneLayer(space.layer_norm),
        *(AddLayer(stage) for stage in range(4)),
        *(Rearrange(stage, end) for stage in range(4) for end in ("first", "last")),
        *(Resize(size) for size in dict.fromkeys(space.sizes)),
        *(SetRegionProposals(count) for count in dict.fromkeys(space.region_proposals)),
        *(
            prune(space.width_ratio, space.round_to, space.floor(prune.part))
            for prune in (PruneFPN, PruneRPN, PruneBoxHead)
        ),
    ]
    return [action for action in candidates if action.kind in space.actions]
