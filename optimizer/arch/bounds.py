"""`Bounds`: how far a search may go, and in which steps; actions are made from it."""

from __future__ import annotations

from dataclasses import dataclass

from optimizer.errors import InputError

__all__ = ["Bounds"]


@dataclass(frozen=True)
class Bounds:
    """The bounds of a search and the granularity of its actions.

    Attributes:
        sizes: canvases (width, height) in pixels; the papers' four by default.
        region_proposals: choices for a head that has them.
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
    max_depths: tuple[int, int, int, int] = (8, 8, 36, 8)
    min_width: int = 32
    round_to: int = 8
    prune_ratio: float = 0.1
    layer_norm: str = "sum"
    width_ratio: float = 0.25
    min_neck_width: int = 32
    min_box_width: int = 128

    def __post_init__(self) -> None:
        if not self.sizes or not self.region_proposals:
            raise InputError("a search space has at least one canvas size and one number of region proposals")
        if len(self.max_depths) != 4 or min(self.max_depths) < 1:
            raise InputError(f"greatest depths are four positive numbers, not {self.max_depths}")

    def floor(self, name: str) -> int:
        """The least that a width outside the body (one of `ArchSpec.outer_widths`) may be."""
        return self.min_box_width if name == "box head" else self.min_neck_width
