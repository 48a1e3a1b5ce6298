"""Where the objects of a batch are on feature maps, drawn without a loop over boxes.

A box is drawn on one level of the neck, by its size, as DeFeat does (FACTS 5.1): a box of 14 to 28 cells of the finest
level's stride, or smaller, on the finest, one twice as large on the next, and so on. DeFeat's strides start at 4, where
that is its "56 pixels"; that it is the same number of cells where a head starts at 8 (RetinaNet) is a reconstruction.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou

from optimizer.detectors.base import Truth

__all__ = ["choose_levels", "draw_anchors", "draw_boxes", "draw_gaussians", "draw_levels", "gather"]

CELLS = 14  # of the finest level's stride, from which on a box is not small for it
AT_ONCE = 128  # boxes whose Gaussians are drawn together
Shape = tuple[int, int]


def gather(truths: Sequence[Truth]) -> tuple[Tensor, Tensor]:
    """All boxes (N, 4) of a batch, and the number of each one's image (N,)."""
    boxes = torch.cat([truth.boxes_xyxy for truth in truths])
    counts = torch.tensor([len(truth.labels) for truth in truths])
    return boxes, torch.arange(len(truths)).repeat_interleave(counts).to(boxes.device)


def choose_levels(boxes: Tensor, strides: Sequence[int]) -> Tensor:
    """The level (N,) that each box is drawn on."""
    sides = (boxes[:, 2:] - boxes[:, :2] + 1).clamp(min=1).prod(1).sqrt()
    levels = (sides / (CELLS * strides[0]) + 1e-6).log2().floor().long()
    return levels.clamp(0, len(strides) - 1)


def draw_levels(truths: Sequence[Truth], shapes: Sequence[Shape], strides: Sequence[int]) -> list[Tensor]:
    """Of each level a mask (B, h, w), 1 in the objects drawn on it and 0 elsewhere."""
    boxes, images = gather(truths)
    levels = choose_levels(boxes, strides)
    return [
        draw_boxes(boxes[levels == level], images[levels == level], len(truths), shape, stride)
        for level, (shape, stride) in enumerate(zip(shapes, strides, strict=True))
    ]


def draw_boxes(boxes: Tensor, images: Tensor, count: int, shape: Shape, stride: int) -> Tensor:
    """The union of boxes (N, 4) of `count` images as a mask (B, h, w) of 0 and 1.

    Corners are cut off to whole cells; rows and columns end before the lower right one. A box that would vanish has one
    cell.
    """
    left, top, right, bottom = _find_cells(boxes, shape, stride)
    height, width = shape
    edges = boxes.new_zeros(count, height + 1, width + 1)  # what the cells right of and below each corner gain
    for rows, columns, sign in ((top, left, 1), (bottom, left, -1), (top, right, -1), (bottom, right, 1)):
        edges.index_put_((images, rows, columns), boxes.new_full((len(boxes),), sign), accumulate=True)
    return (edges.cumsum(1).cumsum(2)[:, :height, :width] > 0.5).to(boxes.dtype)


def draw_gaussians(truths: Sequence[Truth], shapes: Sequence[Shape], strides: Sequence[int]) -> list[Tensor]:
    """Of each level a map (B, h, w): a Gaussian in each box drawn on it, and the larger value where two meet.

    Half of a box's sides is its standard deviation; outside the boxes it is 0 (Sun 2020, FACTS 6). That it is taken at
    the centres of cells is a reconstruction.
    """
    boxes, images = gather(truths)
    levels = choose_levels(boxes, strides)
    drawn = []
    for level, (shape, stride) in enumerate(zip(shapes, strides, strict=True)):
        map_ = boxes.new_zeros(len(truths), *shape)
        of_level = levels == level
        for some, of in zip(boxes[of_level].split(AT_ONCE), images[of_level].split(AT_ONCE)):
            left, top, right, bottom = _find_cells(some, shape, stride)
            rows = _find_heights(some[:, 1], some[:, 3], top, bottom, shape[0], stride)
            columns = _find_heights(some[:, 0], some[:, 2], left, right, shape[1], stride)
            heights = rows[:, :, None] * columns[:, None]
            map_.scatter_reduce_(0, of[:, None, None].expand_as(heights), heights, "amax")
        drawn.append(map_)
    return drawn


def draw_anchors(
    truths: Sequence[Truth], anchors: Sequence[Tensor], shapes: Sequence[Shape], share: float
) -> list[Tensor]:
    """Of each level a mask (B, h, w): 1 in cells that have an anchor near an object (Wang 2019, FACTS 6).

    Near is an IoU above `share` of the largest that the object has with any anchor of any level.
    """
    boxes, images = gather(truths)
    overlaps = box_iou(boxes, torch.cat(list(anchors)))
    near = overlaps > share * overlaps.amax(1, keepdim=True)
    drawn = []
    for of_level, shape in zip(near.split([len(level) for level in anchors], 1), shapes, strict=True):
        cells = shape[0] * shape[1]
        some = of_level.reshape(len(boxes), cells, of_level.shape[1] // cells).any(2).to(boxes.dtype)
        mask = boxes.new_zeros(len(truths), cells).index_add_(0, images, some)
        drawn.append((mask > 0.5).to(boxes.dtype).reshape(len(truths), *shape))
    return drawn


def _find_cells(boxes: Tensor, shape: Shape, stride: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The first and, behind the last, the next column and row of each box; at least one cell of the map."""
    height, width = shape
    cells = torch.div(boxes.float(), stride, rounding_mode="trunc").long()
    left, top = cells[:, 0].clamp(0, width - 1), cells[:, 1].clamp(0, height - 1)
    right = torch.maximum(cells[:, 2], left + 1).clamp(max=width)
    bottom = torch.maximum(cells[:, 3], top + 1).clamp(max=height)
    return left, top, right, bottom


def _find_heights(low: Tensor, high: Tensor, first: Tensor, end: Tensor, cells: int, stride: int) -> Tensor:
    """A Gaussian (N, cells) along one side of each box, 0 outside its cells."""
    places = torch.arange(cells, device=low.device, dtype=low.dtype)
    half = ((high - low) / (2 * stride)).clamp(min=0.5)
    centres = (low + high) / (2 * stride)
    heights = (-0.5 * ((places + 0.5 - centres[:, None]) / half[:, None]).square()).exp()
    inside = (places >= first[:, None]) & (places < end[:, None])
    return heights * inside
