"""Elastic pools whose members have a slim stem, neck and head, so that a training step takes milliseconds."""

from __future__ import annotations

from dataclasses import replace

from optimizer.arch import ArchSpec, FasterRCNNHead, FpnSpec, RetinaNetHead
from optimizer.arch.pool import ElasticSpace, ElasticSubnet

HEADS = {"faster_rcnn": FasterRCNNHead(16, 24, 20, anchor_scale=4), "retinanet": RetinaNetHead(1, anchor_scale=4)}
FULL_ARCH = ElasticSpace.arch


def slim_arch(space: ElasticSpace, subnet: ElasticSubnet) -> ArchSpec:
    """To stand in for `ElasticSpace.arch`."""
    whole = FULL_ARCH(space, subnet)
    return replace(whole, body=replace(whole.body, stem_width=16), neck=FpnSpec(16), head=HEADS[space.detector])
