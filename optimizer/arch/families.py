"""The base detectors a search starts from: the papers' four backbones under a Faster R-CNN or a RetinaNet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from optimizer.arch.bodies.resnet import ResNetSpec, lay_out_stages
from optimizer.arch.heads import HEADS
from optimizer.arch.necks import FpnSpec
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError

__all__ = ["FAMILIES", "Family", "base_arch"]


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

    def body(self) -> ResNetSpec:
        """The unpruned body."""
        widths = [[width] * depth for width, depth in zip(self.widths, self.depths)]
        group_widths = [[width] * depth for width, depth in zip(self.group_widths, self.depths)]
        return ResNetSpec(lay_out_stages(widths, group_widths))


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
        detector: a key of `HEADS`.
        region_proposals: of a Faster R-CNN; None is the papers' 1000.
    """
    family, head = FAMILIES.get(name), HEADS.get(detector)
    if family is None:
        raise InputError(f"there is no base {name!r}; choose one of {', '.join(FAMILIES)}")
    if head is None:
        raise InputError(f"there is no detector {detector!r}; choose {' or '.join(HEADS)}")
    unpruned = head.for_canvas(input_size)
    if region_proposals is not None:
        if unpruned.region_proposals is None:
            raise InputError(
                f"a {detector} has no region proposals, but {region_proposals} were asked for: leave it out"
            )
        unpruned = unpruned.propose(region_proposals)
    return ArchSpec(input_size, family.body(), FpnSpec(), unpruned)
