"""RoIAlign over several maps, written so that a CPU trains with it.

torchvision's backward pass goes value by value on one thread: half of a training step at small canvases. RoIAlign is a
weighted sum of cells, so it can be an embedding bag as well: the cells of all maps are the table, a bin of a region is
a bag. The same features but for the order of summation.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import MultiScaleRoIAlign

__all__ = ["RegionPool"]


class RegionPool(MultiScaleRoIAlign):
    """torchvision's `MultiScaleRoIAlign`; on a CPU the maps are read as tables of cells."""

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Features (N, C, rows, columns) of the boxes (N, 4) of all images.

        Args:
            x: maps (B, C, h, w) by their names, of which those called `featmap_names` are read; boxes: of each image,
                in pixels of the canvas; image_shapes: (height, width) of each.
        """
        if next(iter(x.values())).device.type != "cpu":
            return super().forward(x, boxes, image_shapes)
        maps = [x[name] for name in self.featmap_names]
        if self.scales is None or self.map_levels is None:
            self._learn_scales(maps, image_shapes)
        table = torch.cat([map_.permute(0, 2, 3, 1).flatten(0, 2) for map_ in maps]).float()
        cells, weights = self._list_cells(maps, boxes)
        pooled = functional.embedding_bag(cells, table, mode="sum", per_sample_weights=weights)
        rows, columns = self.output_size
        count, width = sum(map(len, boxes)), table.shape[1]
        pooled = pooled.view(count, rows * columns, width).transpose(1, 2).reshape(count, width, rows, columns)
        return pooled.to(maps[0].dtype)

    def _learn_scales(self, maps: list[Tensor], image_shapes: list[tuple[int, int]]) -> None:
        """Have torchvision find the maps' scales and the rule of levels, as it does when it is first asked."""
        empty = [map_[:, :1].detach() for map_ in maps]
        named = dict(zip(self.featmap_names, empty))
        super().forward(named, [empty[0].new_zeros(0, 4) for _ in image_shapes], image_shapes)

    @torch.no_grad()
    def _list_cells(self, maps: list[Tensor], boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Rows of the table that make up each bin of each box, and their weights: (N * rows * columns, samples)."""
        assert self.scales is not None and self.map_levels is not None
        flat = torch.cat(boxes).float()
        image = torch.repeat_interleave(torch.arange(len(boxes)), torch.tensor([len(box) for box in boxes]))
        level = self.map_levels(boxes) if len(maps) > 1 else torch.zeros_like(image)
        heights, widths = (torch.tensor([map_.shape[axis] for map_ in maps]) for axis in (2, 3))
        sizes = torch.tensor([map_.shape[0] for map_ in maps]) * heights * widths
        first = (sizes.cumsum(0) - sizes)[level] + image * (heights * widths)[level]
        flat = flat * torch.tensor(self.scales)[level, None]
        down, down_weights = self._sample(flat[:, 1], flat[:, 3], heights[level], self.output_size[0])
        right, right_weights = self._sample(flat[:, 0], flat[:, 2], widths[level], self.output_size[1])
        cells = down[:, :, None, :, None] * widths[level].view(-1, 1, 1, 1, 1) + right[:, None, :, None, :]
        weights = down_weights[:, :, None, :, None] * right_weights[:, None, :, None, :]
        samples = (2 * self.sampling_ratio) ** 2
        return (cells + first.view(-1, 1, 1, 1, 1)).reshape(-1, samples), weights.reshape(-1, samples)

    def _sample(self, low: Tensor, high: Tensor, size: Tensor, bins: int) -> tuple[Tensor, Tensor]:
        """Along one axis: the two cells beside each sample of each bin, and their shares: (N, bins, 2 * samples).

        Args:
            low, high: ends of the regions in cells (N,); size: cells there are (N,).
        """
        samples = self.sampling_ratio
        steps = (torch.arange(bins * samples) + 0.5) / (bins * samples)
        size = size[:, None]
        at = low[:, None] + (high - low).clamp(min=1.0)[:, None] * steps
        inside = (at >= -1.0) & (at <= size)
        at = at.clamp(min=0.0).minimum(size - 1.0)
        cell = at.floor().minimum((size - 2.0).clamp(min=0.0))
        share = at - cell
        cells = torch.stack((cell, (cell + 1.0).minimum(size - 1.0)), -1).long()
        shares = torch.stack((1.0 - share, share), -1) * (inside / samples)[..., None]
        return cells.view(-1, bins, 2 * samples), shares.view(-1, bins, 2 * samples)
