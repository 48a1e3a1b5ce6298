"""Detectors that are all there and narrow, for tests where only the width of a real one costs time."""

from __future__ import annotations

from optimizer.arch import (
    ArchSpec,
    BlockSpec,
    CenterNetHead,
    DeconvSpec,
    FasterRCNNHead,
    FpnSpec,
    Head,
    Neck,
    ResNetSpec,
    RetinaNetHead,
    StageSpec,
)
from optimizer.arch.bodies.shufflenet import make_shufflenet
from optimizer.arch.heads import make_head
from optimizer.arch.necks import usual_neck

HEADS: dict[str, Head] = {
    "faster_rcnn": FasterRCNNHead(16, 32, region_proposals=60),
    "retinanet": RetinaNetHead(tower_depth=1),
    "centernet": CenterNetHead(16),
}
NECKS: dict[str, Neck] = {"fpn": FpnSpec(16), "deconv": DeconvSpec(16, 16, 16)}


def put_head(kind: str, body: ResNetSpec, size: tuple[int, int]) -> ArchSpec:
    """A body under the narrow head of a kind, on a canvas (width, height)."""
    head = HEADS[kind]
    return ArchSpec(size, body, NECKS[head.neck], head)


def narrow_arch(
    size: tuple[int, int], region_proposals: int = 40, width: int = 8, neck: int = 16, rpn: int = 16, box_head: int = 32
) -> ArchSpec:
    """A Faster R-CNN with a block a stage, of `width` channels, for a canvas (width, height)."""
    blocks = [BlockSpec((width, width), 1 if stage == 0 else 2, projection=stage > 0) for stage in range(4)]
    body = ResNetSpec(tuple(StageSpec((block,)) for block in blocks), stem_width=width)
    return ArchSpec(size, body, FpnSpec(neck), FasterRCNNHead(rpn, box_head, region_proposals))


def narrow_path(
    size: tuple[int, int], head: str = "faster_rcnn", shuffle: str = "split", region_proposals: int = 40
) -> ArchSpec:
    """A narrow ShuffleNet with each of its four blocks at the head of a stage and behind one, under a head by name."""
    body = make_shufflenet((0, 3, 1, 2, 2, 1, 3, 0), (2, 2, 2, 2), (16, 24, 32, 40), stem_width=8, shuffle=shuffle)
    found = make_head(head, size).propose(region_proposals)
    for name in found.widths:
        found = found.with_width(name, 16)
    neck = usual_neck(found)
    for name in neck.widths:
        neck = neck.with_width(name, 16)
    return ArchSpec(size, body, neck, found)
