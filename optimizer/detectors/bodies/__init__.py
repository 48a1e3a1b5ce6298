"""Modules of bodies, by the kind of the spec they are built from. One file per kind, and a line here.

A module gives its maps by the names "0", "1", ..., in the order of the spec's `maps`. That of a sliceable body has
`shortened(depths)`, within which only the first blocks of each stage run.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from optimizer.detectors.bodies.ofa_resnet import OfaResNetBody
from optimizer.detectors.bodies.resnet import ResNetBody
from optimizer.detectors.bodies.shufflenet import ShuffleNetBody

__all__ = ["BODIES", "OfaResNetBody", "ResNetBody", "ShuffleNetBody"]

BODIES: Mapping[str, Callable[[Any], nn.Module]] = {
    "ofa_resnet": OfaResNetBody,
    "resnet": ResNetBody,
    "shufflenet": ShuffleNetBody,
}
