"""What every distiller is, and what it may ask of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from optimizer.detectors.base import RegionView, Truth

__all__ = ["Distiller", "MapDistiller", "Reads", "RegionDistiller", "SampleDistiller", "Scene"]

Reads = Literal["regions", "sample", "neck", "body"]


@dataclass(frozen=True)
class Scene:
    """What is known of a batch besides what the two networks say of it.

    Attributes:
        truths: the objects of each image, in pixels of the canvas.
        canvas: (width, height). strides: of the neck's levels, the finest first.
        list_anchors: gives the anchors (h * w * A, 4) of each level, cell by cell.
    """

    truths: Sequence[Truth]
    canvas: tuple[int, int]
    strides: tuple[int, ...]
    list_anchors: Callable[[], list[Tensor]]


class Distiller(nn.Module):
    """Adds one scalar to a student's losses, from what it and its teacher make of the same batch.

    The gradient reaches the student and the parameters of distillation only: what the teacher says carries none. A
    distiller sees neither trainer, nor optimiser, nor step number. It is 0 when the student, adapters included, says
    what the teacher says, and 0 where there is nothing to compare.

    Attributes:
        reads: what it compares, and so what a training step computes for it.
        asks: of a detector's head besides, by the names in `optimizer.arch.heads.Head.readable`.
    """

    reads: ClassVar[Reads]
    asks: ClassVar[frozenset[str]] = frozenset()


class RegionDistiller(Distiller):
    """Compares what both say of the regions that the student's head is trained on."""

    reads: ClassVar[Reads] = "regions"

    def forward(self, student: RegionView, teacher: RegionView) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not define forward")


class SampleDistiller(Distiller):
    """Compares what both say of the regions that the teacher's head would be trained on."""

    reads: ClassVar[Reads] = "sample"
    asks = frozenset(("sample",))

    def forward(self, student: Tensor, teacher: Tensor, positive: Tensor) -> Tensor:
        """Log-probabilities (R, G, K) as in `RegionView`, and whether each region is matched to an object (R,)."""
        raise TypeError(f"{type(self).__name__} does not define forward")


class MapDistiller(Distiller):
    """Weighs the cells of feature maps; the adapters before the comparison are one set for all of them.

    What is compared is the teacher's map with the student's behind an adapter (`optimizer.distill.adapters`).
    """

    reads: ClassVar[Reads] = "neck"

    def forward(self, errors: Sequence[Tensor], scene: Scene) -> Tensor:
        """Of each map the squared difference in each cell (B, h, w), mean over channels, the finest map first."""
        raise TypeError(f"{type(self).__name__} does not define forward")
