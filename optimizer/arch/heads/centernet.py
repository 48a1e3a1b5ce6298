"""`CenterNetHead`: a heat map of centres for each class, and in each cell the size of a box and what rounding lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.arch.channels import ChannelSet, OuterLayer, plain_layers
from optimizer.arch.cost import Cost, count_conv, count_relu
from optimizer.arch.heads.base import Head, Levels
from optimizer.arch.maps import FeatureMap
from optimizer.errors import InputError

__all__ = ["CenterNetHead"]

BRANCHES = ("heatmap", "size", "offset")


@dataclass(frozen=True)
class CenterNetHead(Head):
    """Three branches of a 3x3 and a 1x1 convolution on one map of stride 4; no anchors, no regions, no NMS (FACTS 4.9).

    Attributes:
        width: channels between the two convolutions of each branch.
    """

    kind = "centernet"
    levels = Levels((4,))
    neck = "deconv"
    width_fields = {"branches": "width"}
    width: int = 64

    def __post_init__(self) -> None:
        if self.width < 1:
            raise InputError(f"the width of a CenterNet's branches is positive, not {self.width}")

    def count_parts(self, maps: Sequence[FeatureMap], num_classes: int) -> dict[str, Cost]:
        (level,) = maps
        cost = Cost()
        for outputs in (num_classes, 2, 2):
            cost += count_conv(level.width, self.width, 3, level.cells, bias=True) + count_relu(self.width, level.cells)
            cost += count_conv(self.width, outputs, 1, level.cells, bias=True)
        return {"head": cost}

    def name_readers(self) -> tuple[OuterLayer, ...]:
        return plain_layers(*(f"head.{branch}.0" for branch in BRANCHES))

    def channel_sets(self, in_width: int) -> list[ChannelSet]:
        return [
            ChannelSet(self.width, plain_layers(f"head.{branch}.0"), plain_layers(f"head.{branch}.2"))
            for branch in BRANCHES
        ]
