"""`FeatureMap`: what a layer puts out, known before there is a tensor."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["FeatureMap"]


@dataclass(frozen=True)
class FeatureMap:
    """A feature map of one image.

    Attributes:
        width: channels.
        stride: pixels of the canvas per cell.
        rows, columns: cells.
    """

    width: int
    stride: int
    rows: int
    columns: int

    @staticmethod
    def of_canvas(input_size: tuple[int, int]) -> FeatureMap:
        """The canvas itself, (width, height) in pixels."""
        return FeatureMap(width=3, stride=1, rows=input_size[1], columns=input_size[0])

    @property
    def cells(self) -> int:
        return self.rows * self.columns

    def halve(self) -> FeatureMap:
        """The map after a stride of 2 with "same" padding."""
        return replace(self, stride=2 * self.stride, rows=-(-self.rows // 2), columns=-(-self.columns // 2))

    def widen(self, width: int) -> FeatureMap:
        """The same cells with another number of channels."""
        return replace(self, width=width)
