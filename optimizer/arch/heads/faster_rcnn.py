"""`FasterRCNNHead`: an RPN, and a box head on RoI features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from optimizer.arch.channels import ChannelSet, OuterLayer, plain_layers
from optimizer.arch.cost import Cost, count_conv, count_linear
from optimizer.arch.heads.base import Head, Levels, choose_anchor_scale
from optimizer.arch.maps import FeatureMap
from optimizer.errors import InputError

__all__ = ["FasterRCNNHead"]

ANCHORS = 3
ROI_CELLS = 7 * 7
RPN = "rpn.head"
BOX = "roi_heads"


@dataclass(frozen=True)
class FasterRCNNHead(Head):
    """RPN with one 3x3 convolution on P2 to P6, two fully connected layers on 7x7 RoI features of P2 to P5.

    Attributes:
        rpn_width: channels of the RPN's convolution.
        box_width: width of both fully connected layers.
        region_proposals: that reach the box head.
        anchor_scale: anchor side divided by level stride (8 gives 32 to 512 on P2 to P6, the papers' anchors; 4 suits
            canvases whose short side is under 600).
    """

    kind = "faster_rcnn"
    levels = Levels((4, 8, 16, 32, 64), "pool")
    readable = frozenset(("anchors", "body", "neck", "regions", "sample"))
    width_fields = {"RPN": "rpn_width", "box head": "box_width"}
    rpn_width: int = 256
    box_width: int = 1024
    region_proposals: int = 1000
    anchor_scale: int = 8

    def __post_init__(self) -> None:
        if min(self.rpn_width, self.box_width, self.region_proposals, self.anchor_scale) < 1:
            raise InputError(
                f"widths, region proposals and anchor scale of a Faster R-CNN head are positive, not {self}"
            )

    @classmethod
    def for_canvas(cls, input_size: tuple[int, int]) -> FasterRCNNHead:
        return cls(anchor_scale=choose_anchor_scale(input_size))

    def propose(self, count: int) -> FasterRCNNHead:
        return replace(self, region_proposals=count)

    def count_parts(self, maps: Sequence[FeatureMap], num_classes: int) -> dict[str, Cost]:
        """All region proposals go through the box head; the papers' counter takes no boxes of the background."""
        cells, rois, width = sum(level.cells for level in maps), self.region_proposals, self.box_width
        rpn = count_conv(maps[0].width, self.rpn_width, 3, cells, bias=True)
        for outputs in (ANCHORS, 4 * ANCHORS):
            rpn += count_conv(self.rpn_width, outputs, 1, cells, bias=True)
        hidden = count_linear(maps[0].width * ROI_CELLS, width, rois) + count_linear(width, width, rois)
        relus = Cost(flops_mmdet=2 * rois * width)
        ours = count_linear(width, num_classes + 1, rois) + count_linear(width, 4 * (num_classes + 1), rois)
        papers = count_linear(width, num_classes + 1, rois) + count_linear(width, 4 * num_classes, rois)
        return {"rpn": rpn, "head": hidden + relus + Cost(ours.params, ours.macs, papers.flops_mmdet)}

    def name_readers(self) -> tuple[OuterLayer, ...]:
        return plain_layers(f"{RPN}.conv.0.0", f"{BOX}.box_head.fc6")

    def channel_sets(self, in_width: int) -> list[ChannelSet]:
        rpn, fc6, fc7 = plain_layers(f"{RPN}.conv.0.0", f"{BOX}.box_head.fc6", f"{BOX}.box_head.fc7")
        predictors = plain_layers(f"{BOX}.box_predictor.cls_score", f"{BOX}.box_predictor.bbox_pred")
        return [
            ChannelSet(self.rpn_width, (rpn,), plain_layers(f"{RPN}.cls_logits", f"{RPN}.bbox_pred")),
            ChannelSet(self.box_width, (fc6,), (fc7,)),
            ChannelSet(self.box_width, (fc7,), predictors),
        ]
