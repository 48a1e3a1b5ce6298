"""Body and neck as one module, whatever their kinds."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from optimizer.arch.spec import ArchSpec
from optimizer.detectors.bodies import BODIES
from optimizer.detectors.necks import NECKS

__all__ = ["Backbone"]


class Backbone(nn.Module):
    """What a head reads, from images: maps by name, the finest first."""

    def __init__(self, arch: ArchSpec) -> None:
        super().__init__()
        self._neck = arch.neck.kind
        build_neck = NECKS[self._neck](arch)  # before the body: a seed's first weights are those of version 0.1.0
        self.body = BODIES[arch.body.kind](arch.body)
        self.add_module(self._neck, build_neck())

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        maps: OrderedDict[str, Tensor] = self.get_submodule(self._neck)(self.body(images))
        return maps
