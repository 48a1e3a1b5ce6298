"""Super-networks whose members have a slim neck and head, so that a training step takes milliseconds."""

from __future__ import annotations

from dataclasses import replace

from optimizer.arch import ArchSpec, FasterRCNNHead, FpnSpec, RetinaNetHead
from optimizer.arch.ofa_space import OfaSpace, OfaSubnet
from optimizer.arch.paths import PathSubnet, PathSubnets
from optimizer.arch.pool import ElasticSpace, ElasticSubnet

HEADS = {"faster_rcnn": FasterRCNNHead(16, 24, 20, anchor_scale=4), "retinanet": RetinaNetHead(1, anchor_scale=4)}
FULL_ARCH, FULL_PATH, FULL_OFA = ElasticSpace.arch, PathSubnets.arch, OfaSpace.arch


def slim_arch(space: ElasticSpace, subnet: ElasticSubnet) -> ArchSpec:
    """To stand in for `ElasticSpace.arch`."""
    whole = FULL_ARCH(space, subnet)
    return replace(whole, body=replace(whole.body, stem_width=16), neck=FpnSpec(16), head=HEADS[space.detector])


def slim_path(space: PathSubnets, subnet: PathSubnet) -> ArchSpec:
    """To stand in for `PathSubnets.arch`."""
    return replace(FULL_PATH(space, subnet), neck=FpnSpec(16), head=HEADS[space.detector])


def slim_ofa(space: OfaSpace, subnet: OfaSubnet) -> ArchSpec:
    """To stand in for `OfaSpace.arch`."""
    return replace(FULL_OFA(space, subnet), neck=FpnSpec(16), head=HEADS[space.detector])
