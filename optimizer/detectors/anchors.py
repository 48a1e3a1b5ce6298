"""Anchors of a head: torchvision's, whose sides are rounded, or with their exact sides, as others have them."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator

__all__ = ["make_anchors"]

Sides = tuple[tuple[float, ...], ...]


class ExactAnchors(AnchorGenerator):
    """Anchors without rounding, a level's stride apart on any canvas, as detectron2 and mmdetection lay them.

    torchvision's are as far apart as canvas and map say, which is less than a stride where that does not divide the
    canvas.
    """

    def __init__(self, sides: Sides, ratios: tuple[float, ...], strides: tuple[int, ...]) -> None:
        super().__init__(sides, (ratios,) * len(sides))
        self.strides = strides

    def generate_anchors(
        self,
        scales: list[float],
        aspect_ratios: list[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> Tensor:
        """Anchors (ratios * sides, 4) about the origin, ratio by ratio."""
        tall = torch.as_tensor(aspect_ratios, dtype=dtype, device=device).sqrt()[:, None]
        sides = torch.as_tensor(scales, dtype=dtype, device=device)[None]
        half = torch.stack((sides / tall, sides * tall), -1).reshape(-1, 2) / 2
        return torch.cat((-half, half), 1)

    def grid_anchors(self, grid_sizes: list[list[int]], strides: list[list[Tensor]]) -> list[Tensor]:
        device = self.cell_anchors[0].device
        nominal = [[torch.tensor(stride, device=device)] * 2 for stride in self.strides]
        anchors: list[Tensor] = super().grid_anchors(grid_sizes, nominal)
        return anchors


def make_anchors(sides: Sides, ratios: tuple[float, ...], strides: tuple[int, ...], exact: bool) -> AnchorGenerator:
    """What lays the anchors of these sides and ratios (height to width) on maps of these strides.

    Args:
        sides: of each map, square roots of areas in pixels of the canvas.
    """
    if exact:
        return ExactAnchors(sides, ratios, strides)
    return AnchorGenerator(tuple(tuple(int(side) for side in level) for level in sides), (ratios,) * len(sides))
