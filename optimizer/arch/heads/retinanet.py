"""`RetinaNetHead`: a class tower and a box tower, shared by all levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from optimizer.arch.channels import ChannelSet, OuterLayer, plain_layers
from optimizer.arch.cost import Cost, count_conv, count_relu
from optimizer.arch.heads.base import Head, Levels, choose_anchor_scale
from optimizer.arch.maps import FeatureMap
from optimizer.arch.parts import Form, later_field
from optimizer.errors import InputError

__all__ = ["RetinaNetHead"]

ANCHORS = 9


@dataclass(frozen=True)
class RetinaNetHead(Head):
    """Two towers of 3x3 convolutions, as wide as the maps they read, on P3 to P7, with nine anchors a cell.

    Attributes:
        tower_depth: convolutions of each tower before its last.
        anchor_scale: anchor side divided by half of level stride, as in a Faster R-CNN of the same canvas.
        exact_anchors: whether anchors have their exact sides; otherwise these are rounded, as torchvision has them.
    """

    kind = "retinanet"
    levels = Levels((8, 16, 32, 64, 128), "conv")
    readable = frozenset(("anchors", "body", "neck", "regions", "sample"))
    tower_depth: int = 4
    anchor_scale: int = 8
    exact_anchors: bool = later_field(False)

    def __post_init__(self) -> None:
        if self.tower_depth not in range(5):
            raise InputError(f"a RetinaNet tower has none to four convolutions, not {self.tower_depth}")
        if self.anchor_scale < 1:
            raise InputError(f"an anchor scale is positive, not {self.anchor_scale}")

    @classmethod
    def for_canvas(cls, input_size: tuple[int, int]) -> RetinaNetHead:
        return cls(anchor_scale=choose_anchor_scale(input_size))

    def take_form(self, form: Form) -> RetinaNetHead:
        return replace(self, anchor_scale=form.anchor_scale, exact_anchors=True)

    @property
    def region_anchor_scale(self) -> int:
        return self.anchor_scale

    def count_parts(self, maps: Sequence[FeatureMap], num_classes: int) -> dict[str, Cost]:
        cells, width = sum(level.cells for level in maps), maps[0].width
        cost = Cost()
        for outputs in (ANCHORS * num_classes, ANCHORS * 4):
            for _ in range(self.tower_depth):
                cost += count_conv(width, width, 3, cells, bias=True) + count_relu(width, cells)
            cost += count_conv(width, outputs, 3, cells, bias=True)
        return {"head": cost}

    def name_readers(self) -> tuple[OuterLayer, ...]:
        return tuple(tower[0] for tower in self._name_towers())

    def channel_sets(self, in_width: int) -> list[ChannelSet]:
        pairs = (pair for tower in self._name_towers() for pair in pairwise(tower))
        return [ChannelSet(in_width, (writer,), (reader,)) for writer, reader in pairs]

    def _name_towers(self) -> list[tuple[OuterLayer, ...]]:
        return [
            plain_layers(*(f"head.{tower}.conv.{layer}.0" for layer in range(self.tower_depth)), f"head.{tower}.{last}")
            for tower, last in (("classification_head", "cls_logits"), ("regression_head", "bbox_reg"))
        ]
