"""`FasterRCNNHead`: an RPN, and a box head on RoI features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from optimizer.arch.channels import ChannelSet, OuterLayer, plain_layers
from optimizer.arch.cost import Cost, count_conv, count_linear, count_norm, count_relu
from optimizer.arch.heads.base import Head, Levels, choose_anchor_scale
from optimizer.arch.maps import FeatureMap
from optimizer.arch.parts import Form, later_field
from optimizer.errors import InputError

__all__ = ["BOX_HEADS", "FasterRCNNHead"]

ANCHORS = 3
ROI_CELLS = 7 * 7
RPN = "rpn.head"
BOX = "roi_heads"
BOX_HEADS: Mapping[str, int] = {"fc2": 0, "conv4fc1": 4}  # 3x3 convolutions before the fully connected layers


@dataclass(frozen=True)
class FasterRCNNHead(Head):
    """RPN with one 3x3 convolution on P2 to P6, and a box head on 7x7 RoI features of P2 to P5.

    Attributes:
        rpn_width: channels of the RPN's convolution.
        box_width: width of the box head's fully connected layers.
        region_proposals: that reach the box head.
        anchor_scale: anchor side divided by level stride (8 gives 32 to 512 on P2 to P6, the papers' anchors; 4 suits
            canvases whose short side is under 600).
        box_head: "fc2" is two fully connected layers; "conv4fc1" four 3x3 convolutions, as wide as the maps it reads,
            each with a BatchNorm, and one fully connected layer (DetNAS, FACTS 3.4: the head's BatchNorms are
            synchronised as the backbone's are).
        exact_anchors: whether anchors have their exact sides; otherwise these are rounded, as torchvision has them.
    """

    kind = "faster_rcnn"
    levels = Levels((4, 8, 16, 32, 64), "pool")
    readable = frozenset(("anchors", "body", "neck", "regions", "sample"))
    width_fields = {"RPN": "rpn_width", "box head": "box_width"}
    rpn_width: int = 256
    box_width: int = 1024
    region_proposals: int = 1000
    anchor_scale: int = 8
    box_head: str = later_field("fc2")
    exact_anchors: bool = later_field(False)

    def __post_init__(self) -> None:
        if min(self.rpn_width, self.box_width, self.region_proposals, self.anchor_scale) < 1:
            raise InputError(
                f"widths, region proposals and anchor scale of a Faster R-CNN head are positive, not {self}"
            )
        if self.box_head not in BOX_HEADS:
            raise InputError(f"there is no box head {self.box_head!r}; choose {' or '.join(BOX_HEADS)}")

    @classmethod
    def for_canvas(cls, input_size: tuple[int, int]) -> FasterRCNNHead:
        return cls(anchor_scale=choose_anchor_scale(input_size))

    @property
    def name(self) -> str:
        return self.kind if self.box_head == "fc2" else f"{self.kind} {self.box_head}"

    def choose_box_head(self, name: str) -> FasterRCNNHead:
        return replace(self, box_head=name)

    def take_form(self, form: Form) -> FasterRCNNHead:
        if self.box_head != "fc2":
            return super().take_form(form)
        return replace(self, anchor_scale=form.anchor_scale, exact_anchors=True)

    def propose(self, count: int) -> FasterRCNNHead:
        return replace(self, region_proposals=count)

    def count_parts(self, maps: Sequence[FeatureMap], num_classes: int) -> dict[str, Cost]:
        """All region proposals go through the box head; the papers' counter takes no boxes of the background."""
        cells, rois, width = sum(level.cells for level in maps), self.region_proposals, self.box_width
        rpn = count_conv(maps[0].width, self.rpn_width, 3, cells, bias=True)
        for outputs in (ANCHORS, 4 * ANCHORS):
            rpn += count_conv(self.rpn_width, outputs, 1, cells, bias=True)
        hidden, inputs = Cost(), maps[0].width
        for _ in range(BOX_HEADS[self.box_head]):
            hidden += count_conv(inputs, inputs, 3, rois * ROI_CELLS) + count_norm(inputs, rois * ROI_CELLS)
            hidden += count_relu(inputs, rois * ROI_CELLS)
        reads = inputs * ROI_CELLS
        for _ in self._box_layers()[1]:
            hidden += count_linear(reads, width, rois) + Cost(flops_mmdet=rois * width)
            reads = width
        ours = count_linear(width, num_classes + 1, rois) + count_linear(width, 4 * (num_classes + 1), rois)
        papers = count_linear(width, num_classes + 1, rois) + count_linear(width, 4 * num_classes, rois)
        return {"rpn": rpn, "head": hidden + Cost(ours.params, ours.macs, papers.flops_mmdet)}

    def name_readers(self) -> tuple[OuterLayer, ...]:
        convs, linears = self._box_layers()
        return *plain_layers(f"{RPN}.conv.0.0"), (*convs, *linears)[0]

    def channel_sets(self, in_width: int) -> list[ChannelSet]:
        rpn = plain_layers(f"{RPN}.conv.0.0")
        predictors = plain_layers(f"{BOX}.box_predictor.cls_score", f"{BOX}.box_predictor.bbox_pred")
        convs, linears = self._box_layers()
        return [
            ChannelSet(self.rpn_width, rpn, plain_layers(f"{RPN}.cls_logits", f"{RPN}.bbox_pred")),
            *(ChannelSet(in_width, (conv,), (reader,)) for conv, reader in pairwise((*convs, linears[0]))),
            *(ChannelSet(self.box_width, (writer,), (reader,)) for writer, reader in pairwise(linears)),
            ChannelSet(self.box_width, linears[-1:], predictors),
        ]

    def _box_layers(self) -> tuple[tuple[OuterLayer, ...], tuple[OuterLayer, ...]]:
        """The convolutions of the box head, and its fully connected layers, under torchvision's names."""
        box, convs = f"{BOX}.box_head", BOX_HEADS[self.box_head]
        if not convs:
            return (), plain_layers(f"{box}.fc6", f"{box}.fc7")
        layers = tuple(OuterLayer(f"{box}.{index}.0", norm=f"{box}.{index}.1") for index in range(convs))
        return layers, plain_layers(f"{box}.{convs + 1}")
