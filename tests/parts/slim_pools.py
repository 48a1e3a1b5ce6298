"""Super-networks whose members have a slim neck and head, so that a training step takes milliseconds."""

from __future__ import annotations

from dataclasses import replace

from optimizer.arch import ArchSpec, CenterNetHead, DeconvSpec, FasterRCNNHead, FpnSpec, Head, Neck, RetinaNetHead
from optimizer.arch.ofa_space import OfaSpace, OfaSubnet
from optimizer.arch.paths import PathSubnet, PathSubnets
from optimizer.arch.pool import ElasticSpace, ElasticSubnet

HEADS: dict[str, Head] = {
    "faster_rcnn": FasterRCNNHead(16, 24, 20, anchor_scale=4),
    "retinanet": RetinaNetHead(1, anchor_scale=4),
    "centernet": CenterNetHead(8),
}
NECKS: dict[str, Neck] = {"fpn": FpnSpec(16), "deconv": DeconvSpec(16, 16, 16)}
FULL_ARCH, FULL_PATH, FULL_OFA = ElasticSpace.arch, PathSubnets.arch, OfaSpace.arch


def slim_arch(space: ElasticSpace, subnet: ElasticSubnet) -> ArchSpec:
    """To stand in for `ElasticSpace.arch`."""
    whole = FULL_ARCH(space, subnet)
    return _slim(replace(whole, body=replace(whole.body, stem_width=16)), space.detector)


def slim_path(space: PathSubnets, subnet: PathSubnet) -> ArchSpec:
    """To stand in for `PathSubnets.arch`."""
    return _slim(FULL_PATH(space, subnet), space.detector)


def slim_ofa(space: OfaSpace, subnet: OfaSubnet) -> ArchSpec:
    """To stand in for `OfaSpace.arch`."""
    return _slim(FULL_OFA(space, subnet), space.detector)


def _slim(whole: ArchSpec, detector: str) -> ArchSpec:
    head = HEADS[detector]
    return replace(whole, neck=NECKS[head.neck], head=head)
