"""The base detectors a search starts from: the papers' four bodies, under any head."""

from __future__ import annotations

from collections.abc import Mapping

from optimizer.arch.bodies import AnyBody
from optimizer.arch.bodies.resnet import make_resnet
from optimizer.arch.heads import HEADS
from optimizer.arch.necks import FpnSpec
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError

__all__ = ["FAMILIES", "base_arch", "find_family"]

BASIC = ((64, 64), (128, 128), (256, 256), (512, 512))
BOTTLENECK = ((64, 64, 256), (128, 128, 512), (256, 256, 1024), (512, 512, 2048))
RESNEXT_32X4D = ((128, 128, 256), (256, 256, 512), (512, 512, 1024), (1024, 1024, 2048))

FAMILIES: Mapping[str, AnyBody] = {  # as the papers' tables have them, unpruned
    "r18": make_resnet((2, 2, 2, 2), BASIC),
    "r50": make_resnet((3, 4, 6, 3), BOTTLENECK),
    "r101": make_resnet((3, 4, 23, 3), BOTTLENECK),
    "x101": make_resnet((3, 4, 23, 3), RESNEXT_32X4D, (4, 8, 16, 32)),
}


def find_family(body: AnyBody) -> str | None:
    """The family whose unpruned body this is; None where it is none's."""
    return next((name for name, unpruned in FAMILIES.items() if unpruned == body), None)


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
    if name not in FAMILIES:
        raise InputError(f"there is no base {name!r}; choose one of {', '.join(FAMILIES)}")
    if detector not in HEADS:
        raise InputError(f"there is no detector {detector!r}; choose {' or '.join(HEADS)}")
    head = HEADS[detector].for_canvas(input_size)
    if region_proposals is not None:
        if head.region_proposals is None:
            raise InputError(
                f"a {detector} has no region proposals, but {region_proposals} were asked for: leave it out"
            )
        head = head.propose(region_proposals)
    return ArchSpec(input_size, FAMILIES[name], FpnSpec(), head)
