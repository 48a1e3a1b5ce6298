"""Bodies: the networks that turn a canvas into feature maps. One file per kind, and a line here."""

from collections.abc import Mapping

from optimizer.arch.bodies.base import AnyBody, Block, Body, Layer, Position, StageSpec
from optimizer.arch.bodies.ofa_resnet import OfaResNetSpec
from optimizer.arch.bodies.resnet import BlockSpec, ResNetSpec
from optimizer.arch.bodies.shufflenet import ShuffleBlock, ShuffleNetSpec

__all__ = [
    "BODIES", "AnyBody", "Block", "BlockSpec", "Body", "Layer", "OfaResNetSpec", "Position", "ResNetSpec",
    "ShuffleBlock", "ShuffleNetSpec", "StageSpec",
]  # fmt: skip

BODIES: Mapping[str, type[AnyBody]] = {"ofa_resnet": OfaResNetSpec, "resnet": ResNetSpec, "shufflenet": ShuffleNetSpec}
