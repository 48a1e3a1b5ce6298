"""Body and neck as one module, whatever their kinds."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from optimizer.arch.spec import ArchSpec
from optimizer.detectors.bodies import BODIES
from optimizer.detectors.necks import NECKS

__all__ = ["Backbone"]


class Backbone(nn.Module):
    """What a head reads, from images: maps by name, the finest first; `stages` is given the body's own maps."""

    def __init__(self, arch: ArchSpec) -> None:
        super().__init__()
        self._neck = arch.neck.kind
        build_neck = NECKS[self._neck](arch)  # before the body: a seed's first weights are those of version 0.1.0
        self.body = BODIES[arch.body.kind](arch.body)
        self.add_module(self._neck, build_neck())

    def forward(self, images: Tensor, stages: dict[str, Tensor] | None = None) -> OrderedDict[str, Tensor]:
        found: OrderedDict[str, Tensor] = self.body(images)
        if stages is not None:
            stages.update(found)
        maps: OrderedDict[str, Tensor] = self.get_submodule(self._neck)(found)
        return maps
