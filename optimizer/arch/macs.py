"""What a detector costs, by arithmetic on its spec: parameters, multiply-accumulates, and the papers' "FLOPs".

`flops_mmdet` is the counter behind the Joint-DetNAS tables, mmdetection's: a multiply-accumulate counts as one; a bias
adds one an output, BatchNorm two and a ReLU module one an element, a max-pool one an input element. Additions,
upsampling, functional ReLUs (the RPN's), RoIAlign and NMS are free. The canvas is counted as it is, unpadded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.arch.spec import ArchSpec, BlockSpec, FasterRCNNHead, RetinaNetHead

__all__ = ["Cost", "count", "count_block_params", "count_parts"]

RPN_ANCHORS = 3
RETINANET_ANCHORS = 9
ROI_CELLS = 7 * 7


@dataclass(frozen=True)
class Cost:
    """Cost of one image.

    Attributes:
        params: trainable parameters, BatchNorm's and biases included.
        macs: multiply-accumulates of convolutions and linears, biases left out (torch's FlopCounterMode, halved).
        flops_mmdet: the papers' counter, which takes class-specific boxes for the objects only.
    """

    params: int = 0
    macs: int = 0
    flops_mmdet: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.params + other.params, self.macs + other.macs, self.flops_mmdet + other.flops_mmdet)


@dataclass(frozen=True)
class MapSize:
    """Height and width of a feature map, in cells."""

    height: int
    width: int

    @property
    def cells(self) -> int:
        return self.height * self.width

    def halve(self) -> MapSize:
        """The map after a stride of 2 with "same" padding, as all of a ResNet's strides are."""
        return MapSize(-(-self.height // 2), -(-self.width // 2))


def count(arch: ArchSpec, num_classes: int = 80) -> Cost:
    """Cost of the whole detector; a Faster R-CNN sends all its region proposals through the box head."""
    return sum(count_parts(arch, num_classes).values(), Cost())


def count_parts(arch: ArchSpec, num_classes: int = 80) -> dict[str, Cost]:
    """Cost by part: "backbone", "neck", "rpn" (of a Faster R-CNN only) and "head"."""
    backbone, maps = _count_backbone(arch)
    if isinstance(arch.head, FasterRCNNHead):
        neck = _count_pyramid(arch, maps)
        pyramid = [*maps, maps[-1].halve()]
        rpn = _count_rpn(arch.fpn_width, arch.head, pyramid)
        return {"backbone": backbone, "neck": neck, "rpn": rpn, "head": _count_box_head(arch, arch.head, num_classes)}
    p6 = maps[-1].halve()
    p7 = p6.halve()
    neck = _count_pyramid(arch, maps[1:])
    for level in (p6, p7):
        neck += _count_conv(arch.fpn_width, arch.fpn_width, 3, level.cells, bias=True)
    towers = _count_towers(arch.fpn_width, arch.head, [*maps[1:], p6, p7], num_classes)
    return {"backbone": backbone, "neck": neck, "head": towers}


def count_block_params(block: BlockSpec, in_width: int) -> int:
    """Trainable parameters of one residual block."""
    return _count_block(block, in_width, MapSize(1, 1)).params


def _count_backbone(arch: ArchSpec) -> tuple[Cost, list[MapSize]]:
    """Cost of stem and stages, and the map each stage puts out."""
    width, height = arch.input_size
    stem_map = MapSize(height, width).halve()
    pool = Cost(flops_mmdet=arch.stem_width * stem_map.cells)
    cost = _count_conv(3, arch.stem_width, 7, stem_map.cells, norm=True, relu=True) + pool
    maps = []
    size, in_width = stem_map.halve(), arch.stem_width
    for stage in arch.stages:
        for block in stage.blocks:
            cost += _count_block(block, in_width, size)
            size = size.halve() if block.stride == 2 else size
            in_width = block.out_width
        maps.append(size)
    return cost, maps


def _count_block(block: BlockSpec, in_width: int, size: MapSize) -> Cost:
    """One block on a map of `size`; the stride is the first 3x3 convolution's, the last ReLU follows the addition."""
    out_size = size.halve() if block.stride == 2 else size
    layers: tuple[tuple[int, MapSize, int], ...]  # kernel, map, groups
    if len(block.widths) == 2:
        layers = ((3, out_size, 1), (3, out_size, 1))
    else:
        layers = ((1, size, 1), (3, out_size, block.groups), (1, out_size, 1))
    cost = Cost()
    width = in_width
    for out_width, (kernel, layer_size, groups) in zip(block.widths, layers):
        cost += _count_conv(width, out_width, kernel, layer_size.cells, groups=groups, norm=True, relu=True)
        width = out_width
    if block.projection:
        cost += _count_conv(in_width, block.out_width, 1, out_size.cells, norm=True)
    return cost


def _count_pyramid(arch: ArchSpec, maps: Sequence[MapSize]) -> Cost:
    """FPN on the last stages: a 1x1 lateral and a 3x3 output convolution for each map."""
    cost = Cost()
    for stage, size in zip(arch.stages[-len(maps) :], maps):
        cost += _count_conv(stage.out_width, arch.fpn_width, 1, size.cells, bias=True)
        cost += _count_conv(arch.fpn_width, arch.fpn_width, 3, size.cells, bias=True)
    return cost


def _count_rpn(fpn_width: int, head: FasterRCNNHead, pyramid: Sequence[MapSize]) -> Cost:
    cells = sum(size.cells for size in pyramid)
    cost = _count_conv(fpn_width, head.rpn_width, 3, cells, bias=True)
    for outputs in (RPN_ANCHORS, 4 * RPN_ANCHORS):
        cost += _count_conv(head.rpn_width, outputs, 1, cells, bias=True)
    return cost


def _count_box_head(arch: ArchSpec, head: FasterRCNNHead, num_classes: int) -> Cost:
    rois, width = head.region_proposals, head.box_width
    hidden = _count_linear(arch.fpn_width * ROI_CELLS, width, rois) + _count_linear(width, width, rois)
    relus = Cost(flops_mmdet=2 * rois * width)
    ours = _count_linear(width, num_classes + 1, rois) + _count_linear(width, 4 * (num_classes + 1), rois)
    papers = _count_linear(width, num_classes + 1, rois) + _count_linear(width, 4 * num_classes, rois)
    return hidden + relus + Cost(ours.params, ours.macs, papers.flops_mmdet)


def _count_towers(fpn_width: int, head: RetinaNetHead, pyramid: Sequence[MapSize], num_classes: int) -> Cost:
    """The class and the box tower, shared by all levels."""
    cells = sum(size.cells for size in pyramid)
    cost = Cost()
    for outputs in (RETINANET_ANCHORS * num_classes, RETINANET_ANCHORS * 4):
        for _ in range(head.tower_depth):
            cost += _count_conv(fpn_width, fpn_width, 3, cells, bias=True, relu=True)
        cost += _count_conv(fpn_width, outputs, 3, cells, bias=True)
    return cost


def _count_conv(
    in_width: int,
    out_width: int,
    kernel: int,
    cells: int,
    groups: int = 1,
    bias: bool = False,
    norm: bool = False,
    relu: bool = False,
) -> Cost:
    """A convolution that puts out `cells` cells in all, with the modules that follow it."""
    weights = kernel * kernel * in_width * out_width // groups
    return Cost(
        params=weights + out_width * (bias + 2 * norm),
        macs=weights * cells,
        flops_mmdet=weights * cells + out_width * cells * (bias + 2 * norm + relu),
    )


def _count_linear(in_width: int, out_width: int, rows: int) -> Cost:
    weights = in_width * out_width
    return Cost(params=weights + out_width, macs=weights * rows, flops_mmdet=weights * rows)
