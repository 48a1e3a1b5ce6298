"""RoIAlign of P2 to P5 as one operator of the graph: ONNX's own, or GridSample, which needs no plugin anywhere.

Both look into one atlas of the pyramid, and both give what torchvision's MultiScaleRoIAlign(["0".."3"], 7,
sampling_ratio=2) gives: 14x14 bilinear samples a region, their 2x2 means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torchvision.ops
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, pad

__all__ = ["ROI_ALIGN", "lay_atlas", "level_of", "pool_rois", "sample_rois", "size_of"]

STRIDES = (4, 8, 16, 32)  # of P2 to P5
ROI_SIDE = 7
SAMPLES_PER_BIN_SIDE = 2
RING = 2  # replicated pixels right of and below P3, P4, P5 in the atlas
OUTSIDE = -3.0  # a GridSample coordinate more than a cell off any map of two cells or more, where it reads zeros


def pool_rois(maps: list[Tensor], rois: Tensor) -> Tensor:
    """(R, C, 7, 7) features of (R, 4) boxes inside the canvas, by one RoiAlign over the atlas.

    Equal to torchvision's on canvases of up to 1,568 pixels a side. Beyond, a box on P3 to P5 can be thinner than a
    cell; where it also touches the right or lower border it reads the border's features, and torchvision's reads zeros.
    """
    atlas, offsets = lay_atlas(maps)
    level = level_of(rois)
    scale = torch.tensor([1.0 / stride for stride in STRIDES])[level, None]
    shift = torch.tensor([[x, y, x, y] for x, y in offsets], dtype=torch.float32)[level]
    pooled: Tensor = _Pool.apply(atlas, rois * scale + shift, size_of(rois, 0), size_of(atlas, 1))
    return pooled


def sample_rois(maps: list[Tensor], rois: Tensor) -> Tensor:
    """(R, C, 7, 7) features of (R, 4) boxes inside the canvas, by one GridSample over the atlas and 2x2 means.

    RoIAlign's border rules are in the coordinates: between the last cell and the border of a map a sample reads the
    last cell, beyond the border (of boxes thinner than a cell) zeros. It holds all samples at once: 784 bytes a region
    and channel.
    """
    atlas, offsets = lay_atlas(maps)
    count, channels, samples = size_of(rois, 0), size_of(atlas, 1), ROI_SIDE * SAMPLES_PER_BIN_SIDE
    level = level_of(rois)
    scale = torch.tensor([1.0 / stride for stride in STRIDES])[level, None]
    ends = torch.tensor([[size_of(map_, 3), size_of(map_, 2)] for map_ in maps], dtype=torch.float32)[level, :, None]
    shift = torch.tensor(offsets, dtype=torch.float32)[level, :, None]
    low, high = (rois * scale).chunk(2, 1)
    steps = (torch.arange(samples, dtype=rois.dtype) + 0.5) / samples
    points = low[:, :, None] + (high - low).clamp(min=1.0)[:, :, None] * steps  # region, x or y, sample; in cells
    cells = torch.minimum(points, ends - 1) + shift
    last = torch.tensor([[size_of(atlas, 3) - 1.0], [size_of(atlas, 2) - 1.0]], dtype=rois.dtype)
    places = torch.where(points > ends, torch.full((), OUTSIDE), cells * (2 / last) - 1).to(atlas.dtype)
    x = places[:, 0, None, :].expand(count, samples, samples)
    y = places[:, 1, :, None].expand(count, samples, samples)
    grid = torch.stack((x, y), 3).reshape(1, count * samples, samples, 2)
    sampled = grid_sample(atlas, grid, "bilinear", "zeros", align_corners=True)
    means = avg_pool2d(sampled, SAMPLES_PER_BIN_SIDE)
    return means.reshape(channels, count, ROI_SIDE, ROI_SIDE).transpose(0, 1)


ROI_ALIGN: Mapping[str, Callable[[list[Tensor], Tensor], Tensor]] = {"op": pool_rois, "grid": sample_rois}


def level_of(rois: Tensor) -> Tensor:
    """Pyramid level (R,) int64, 0 for P2, of boxes (R, 4): floor(4 + log2(sqrt(area) / 224) + 1e-6) held in 2..5.

    Feature Pyramid Networks, equation 1; by comparing areas, so that no runtime's logarithm has a say.
    """
    area = (rois[:, 2] - rois[:, 0]) * (rois[:, 3] - rois[:, 1])
    smallest_area = torch.tensor([(224 * 2.0 ** (level - 4 - 1e-6)) ** 2 for level in (3, 4, 5)])
    return (area[:, None] >= smallest_area).to(torch.int64).sum(1)


def lay_atlas(maps: list[Tensor]) -> tuple[Tensor, list[tuple[int, int]]]:
    """One map holding P2 to P5 (each (1, C, h, w)), and the (x, y) cell at which each begins.

    ::

        P3 | P4 | P5 |       right of and below these: replicated pixels, so that a sample between the last cell
        -------------+       and the border reads what clamping to the map would read
              P2     |       ends where the atlas ends, so RoIAlign's own border rules hold for it
    """
    (_, p2_width), *sizes = [(size_of(level, 2), size_of(level, 3)) for level in maps]
    band_height = RING + max(height for height, _ in sizes)
    band_width = sum(RING + width for _, width in sizes)
    width = max(band_width, p2_width)
    band, starts, x = [], [(width - p2_width, band_height)], 0
    for level, (level_height, level_width) in zip(maps[1:], sizes):
        ringed = pad(level, (0, RING, 0, RING), mode="replicate")
        last = level is maps[-1]
        band.append(
            _pad_zeros(ringed, right=width - band_width if last else 0, below=band_height - RING - level_height)
        )
        starts.append((x, 0))
        x += level_width + RING
    atlas = torch.cat([torch.cat(band, 3), _pad_zeros(maps[0], left=width - p2_width)], 2)
    return atlas, starts


def size_of(tensor: Tensor, dimension: int) -> int:
    """A dimension as a plain number, also while the exporter traces (where ``shape`` holds traced values)."""
    return int(tensor.shape[dimension])


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, feature_map: Tensor, rois: Tensor, count: int, channels: int) -> Tensor:
        pooled: Tensor = torchvision.ops.roi_align(
            feature_map, [rois], ROI_SIDE, 1.0, SAMPLES_PER_BIN_SIDE, aligned=False
        )
        return pooled

    @staticmethod
    def symbolic(g: Any, feature_map: Any, rois: Any, count: int, channels: int) -> Any:
        pooled = g.op(
            "RoiAlign",
            feature_map,
            rois,
            g.op("Constant", value_t=torch.zeros(count, dtype=torch.int64)),
            coordinate_transformation_mode_s="output_half_pixel",
            mode_s="avg",
            output_height_i=ROI_SIDE,
            output_width_i=ROI_SIDE,
            sampling_ratio_i=SAMPLES_PER_BIN_SIDE,
            spatial_scale_f=1.0,
        )
        pooled.setType(feature_map.type().with_sizes([count, channels, ROI_SIDE, ROI_SIDE]))
        return pooled


def _pad_zeros(level: Tensor, left: int = 0, right: int = 0, below: int = 0) -> Tensor:
    return pad(level, (left, right, 0, below)) if left or right or below else level
