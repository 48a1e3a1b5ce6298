"""The base detectors a search starts from: the papers' four backbones under a Faster R-CNN or a RetinaNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optimizer.arch.spec import ArchSpec, BlockSpec, FasterRCNNHead, Head, RetinaNetHead, StageSpec
from optimizer.errors import InputError

__all__ = ["FAMILIES", "Family", "base_arch", "choose_anchor_scale", "lay_out_stages"]

STEM_WIDTH = 64


@dataclass(frozen=True)
class Family:
    """A backbone as its paper's table gives it: one row of values for each of the four stages.

    Attributes:
        depths: blocks of each stage.
        widths: `BlockSpec.widths` of every block of the stage.
        group_widths: `BlockSpec.group_width` of every block of the stage.
    """

    depths: tuple[int, ...]
    widths: tuple[tuple[int, ...], ...]
    group_widths: tuple[int, ...] = (0, 0, 0, 0)


BASIC = ((64, 64), (128, 128), (256, 256), (512, 512))
BOTTLENECK = ((64, 64, 256), (128, 128, 512), (256, 256, 1024), (512, 512, 2048))
RESNEXT_32X4D = ((128, 128, 256), (256, 256, 512), (512, 512, 1024), (1024, 1024, 2048))

FAMILIES: Mapping[str, Family] = {
    "r18": Family((2, 2, 2, 2), BASIC),
    "r50": Family((3, 4, 6, 3), BOTTLENECK),
    "r101": Family((3, 4, 23, 3), BOTTLENECK),
    "x101": Family((3, 4, 23, 3), RESNEXT_32X4D, (4, 8, 16, 32)),
}


def base_arch(
    name: str, input_size: tuple[int, int], detector: str = "faster_rcnn", region_proposals: int | None = None
) -> ArchSpec:
    """The unpruned detector of a family, with the papers' neck and head (256, 256, 1024, 1000 region proposals).

    Args:
        name: a key of `FAMILIES`.
        input_size: canvas (width, height) in pixels.
        detector: "faster_rcnn" or "retinanet".
        region_proposals: of a Faster R-CNN; None is the papers' 1000.
    """
    family = FAMILIES.get(name)
    if family is None:
        raise InputError(f"there is no base {name!r}; choose one of {', '.join(FAMILIES)}")
    widths = [[width] * depth for width, depth in zip(family.widths, family.depths)]
    group_widths = [[width] * depth for width, depth in zip(family.group_widths, family.depths)]
    return ArchSpec(
        stages=lay_out_stages(widths, group_widths),
        input_size=input_size,
        head=_choose_head(detector, region_proposals),
        stem_width=STEM_WIDTH,
        anchor_scale=choose_anchor_scale(input_size),
    )


def lay_out_stages(
    widths: Sequence[Sequence[tuple[int, ...]]], group_widths: Sequence[Sequence[int]]
) -> tuple[StageSpec, ...]:
    """Stages of these block widths after the standard stem, with strides and projections only where they are needed.

    The first block of every stage but the first has stride 2; a shortcut is projected where the stride is 2 or the
    width changes.
    """
    stages = []
    in_width = STEM_WIDTH
    for stage, (stage_widths, stage_group_widths) in enumerate(zip(widths, group_widths)):
        blocks = []
        for block, (block_widths, group_width) in enumerate(zip(stage_widths, stage_group_widths)):
            stride = 2 if stage > 0 and block == 0 else 1
            projection = stride == 2 or block_widths[-1] != in_width
            blocks.append(BlockSpec(block_widths, stride, group_width, projection))
            in_width = block_widths[-1]
        stages.append(StageSpec(tuple(blocks)))
    return tuple(stages)


def choose_anchor_scale(input_size: tuple[int, int]) -> int:
    """The papers' 8 on a canvas of at least 600 pixels, 4 on smaller ones, whose objects are smaller too."""
    return 8 if min(input_size) >= 600 else 4


def _choose_head(detector: str, region_proposals: int | None) -> Head:
    if detector == "faster_rcnn":
        return FasterRCNNHead() if region_proposals is None else FasterRCNNHead(region_proposals=region_proposals)
    if detector == "retinanet":
        if region_proposals is not None:
            raise InputError(
                f"a RetinaNet has no region proposals, but {region_proposals} were asked for: leave it out"
            )
        return RetinaNetHead()
    raise InputError(f"there is no detector {detector!r}; choose faster_rcnn or retinanet")
