"""Bodies: the networks that turn a canvas into feature maps. One file per kind, and a line here."""

from collections.abc import Mapping

from optimizer.arch.bodies.base import AnyBody, Block, Body, Layer, Position, StageSpec
from optimizer.arch.bodies.resnet import BlockSpec, ResNetSpec

__all__ = ["BODIES", "AnyBody", "Block", "BlockSpec", "Body", "Layer", "Position", "ResNetSpec", "StageSpec"]

BODIES: Mapping[str, type[AnyBody]] = {"resnet": ResNetSpec}
