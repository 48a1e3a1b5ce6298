"""What a heat map of centres should be for the objects of a batch, and the loss of one that is not (FACTS 4.9).

After CornerNet (Law and Deng 2018): around each centre a Gaussian takes the weight off cells whose box would do too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from optimizer.detectors.base import Truth

__all__ = ["Centres", "draw_heat", "find_heat_loss", "find_radii", "place_centres"]

MIN_OVERLAP = 0.7
FOCUS, SPARE = 2, 4  # exponents of the focal loss: on what is sure, on what is near a centre
AT_ONCE = 128  # objects whose Gaussians are drawn together


class Centres(NamedTuple):
    """The objects (N,) of a batch on a map.

    Attributes:
        images, labels, rows, columns: the image, the class and the cell of each.
        offsets: (N, 2) of the centre in its cell, horizontal first. sizes: (N, 2) of the box in cells, width first.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    columns: Tensor
    offsets: Tensor
    sizes: Tensor


def place_centres(truths: Sequence[Truth], stride: int, shape: tuple[int, int]) -> Centres:
    """Where the objects are on a map of this stride and (rows, columns)."""
    boxes = torch.cat([truth.boxes_xyxy for truth in truths]).float() / stride
    counts = torch.tensor([len(truth.labels) for truth in truths])
    images = torch.arange(len(truths)).repeat_interleave(counts).to(boxes.device)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    cells = centres.long()
    columns, rows = cells[:, 0].clamp(0, shape[1] - 1), cells[:, 1].clamp(0, shape[0] - 1)
    offsets = centres - torch.stack((columns, rows), 1)
    labels = torch.cat([truth.labels for truth in truths])
    return Centres(images, labels, rows, columns, offsets, boxes[:, 2:] - boxes[:, :2])


def find_radii(sizes: Tensor) -> Tensor:
    """How far in cells (N,), whole, both corners of a box may move so that it still has an IoU of 0.7 with itself.

    The least of three solutions: both corners inwards, both outwards, or both in one direction.

    Args:
        sizes: (N, 2) in cells; they are rounded up.
    """
    width, height = sizes.ceil().unbind(1)
    area, sides = width * height, width + height
    shifted = _solve(1.0, -sides, area * (1 - MIN_OVERLAP) / (1 + MIN_OVERLAP), -1)
    inside = _solve(4.0, -2 * sides, area * (1 - MIN_OVERLAP), -1)
    outside = _solve(4 * MIN_OVERLAP, 2 * MIN_OVERLAP * sides, area * (MIN_OVERLAP - 1), 1)
    return torch.stack((shifted, inside, outside)).amin(0).clamp(min=0).floor()


def draw_heat(centres: Centres, shape: tuple[int, ...]) -> Tensor:
    """A map (B, C, h, w) of this shape: 1 at centres, a Gaussian around each, the larger value where two meet.

    A sixth of its diameter is its standard deviation; beyond its radius it is 0.
    """
    batch, classes, rows, columns = shape
    heat = centres.sizes.new_zeros(batch * classes, rows, columns)
    radii = find_radii(centres.sizes)
    planes = centres.images * classes + centres.labels
    for at in torch.arange(len(planes), device=planes.device).split(AT_ONCE):
        down = _draw_line(centres.rows[at], radii[at], rows)
        across = _draw_line(centres.columns[at], radii[at], columns)
        hills = down[:, :, None] * across[:, None]
        heat.scatter_reduce_(0, planes[at][:, None, None].expand_as(hills), hills, "amax")
    return heat.reshape(shape)


def find_heat_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """Focal loss of logits (B, C, h, w) against such a map, by centre."""
    centres = (heat == 1).float()
    hit = functional.logsigmoid(logits) * torch.sigmoid(-logits) ** FOCUS * centres
    missed = functional.logsigmoid(-logits) * torch.sigmoid(logits) ** FOCUS * (1 - heat) ** SPARE
    return -(hit.sum() + missed.sum()) / centres.sum().clamp(min=1)


def _draw_line(places: Tensor, radii: Tensor, cells: int) -> Tensor:
    """One side of each Gaussian (N, cells)."""
    distances = (torch.arange(cells, device=places.device) - places[:, None]).float()
    deviations = (2 * radii[:, None] + 1) / 6
    return torch.exp(-distances.square() / (2 * deviations.square())) * (distances.abs() <= radii[:, None])


def _solve(a: float, b: Tensor, c: Tensor, sign: int) -> Tensor:
    """A root of a x^2 + b x + c."""
    return (-b + sign * (b.square() - 4 * a * c).clamp(min=0).sqrt()) / (2 * a)
