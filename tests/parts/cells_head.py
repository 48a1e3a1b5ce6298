"""A head of a kind that no other file knows: classes and a box for each cell, its spec and its detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from deploy.export import OnnxGraphOps
from optimizer.arch import ArchSpec
from optimizer.arch.channels import ChannelSet, OuterLayer, plain_layers
from optimizer.arch.cost import Cost, count_conv, count_relu
from optimizer.arch.heads import Head, Levels
from optimizer.arch.maps import FeatureMap
from optimizer.detectors import Detector, GraphOps, Prediction, RegionView, Seen, Truth
from optimizer.detectors.backbone import Backbone

__all__ = ["Cells", "CellsHead"]


@dataclass(frozen=True)
class CellsHead(Head):
    """Classes and a box for each cell of two maps, behind one shared 3x3 convolution."""

    kind = "cells"
    levels = Levels((16, 32))
    width_fields = {"hidden layer": "width"}
    width: int = 16

    def count_parts(self, maps: Sequence[FeatureMap], num_classes: int) -> dict[str, Cost]:
        cells = sum(level.cells for level in maps)
        return {
            "head": count_conv(maps[0].width, self.width, 3, cells, bias=True)
            + count_relu(self.width, cells)
            + count_conv(self.width, num_classes + 4, 1, cells, bias=True)
        }

    def name_readers(self) -> tuple[OuterLayer, ...]:
        return plain_layers("hidden")

    def channel_sets(self, in_width: int) -> list[ChannelSet]:
        return [ChannelSet(self.width, plain_layers("hidden"), plain_layers("last"))]


class Cells(Detector):
    """An object belongs to the cell that its centre is in; the box is the cell's centre with four distances."""

    def __init__(self, arch: ArchSpec, num_classes: int) -> None:
        super().__init__()
        self.arch, self.num_classes = arch, num_classes
        self.backbone = Backbone(arch)
        self.hidden = nn.Conv2d(arch.maps[0].width, arch.head.width, 3, 1, 1)
        self.last = nn.Conv2d(arch.head.width, num_classes + 4, 1)

    def look(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, N, classes), distances (B, N, 4) and centres (N, 2) of all cells."""
        outputs, centres = [], []
        for level, stride in zip(self.backbone(images).values(), self.arch.head.levels.strides):
            found = self.last(functional.relu(self.hidden(level)))
            rows, columns = int(found.shape[-2]), int(found.shape[-1])
            y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            centres.append((torch.stack((x, y), -1).reshape(-1, 2) + 0.5) * stride)
            outputs.append(found.flatten(2).transpose(1, 2))
        cells = torch.cat(outputs, 1)
        return cells[..., : self.num_classes], cells[..., self.num_classes :].exp() * 8, torch.cat(centres)

    def losses_and_regions(
        self, images: Tensor, truths: list[Truth], with_view: bool = False, seen: Seen | None = None
    ) -> tuple[dict[str, Tensor], list[Tensor], RegionView | None]:
        logits, distances, centres = self.look(images)
        wanted, boxes = torch.zeros_like(logits), logits.new_zeros(())
        for image, truth in enumerate(truths):
            for box, label in zip(truth.boxes_xyxy, truth.labels):
                nearest = (centres - (box[:2] + box[2:]) / 2).abs().sum(1).argmin()
                wanted[image, nearest, label] = 1
                sides = torch.cat((centres[nearest] - box[:2], box[2:] - centres[nearest]))
                boxes = boxes + (distances[image, nearest] - sides).abs().mean() / 8
        return {"cells": functional.binary_cross_entropy_with_logits(logits, wanted), "boxes": boxes}, [], None

    def raw(self, images: Tensor, ops: GraphOps, max_detections: int = 100) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        logits, distances, centres = self.look(images)
        boxes = torch.cat((centres - distances[0, :, :2], centres + distances[0, :, 2:]), 1)
        return ops.class_nms(boxes[:, None], logits[0].sigmoid(), 0.05, 0.5, max_detections)

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Prediction]:
        found = []
        for image in images:
            boxes, scores, labels, number = self.raw(image[None], OnnxGraphOps())
            found.append(Prediction(boxes[: int(number)], scores[: int(number)], labels[: int(number)]))
        return found
