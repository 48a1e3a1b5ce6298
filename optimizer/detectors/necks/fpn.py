"""The module of an `FpnSpec`: torchvision's feature pyramid, on those of the body's maps that the head wants."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from torch import Tensor
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7

from optimizer.arch.spec import ArchSpec

__all__ = ["Fpn"]

COARSER: Mapping[str, Callable[[int], ExtraFPNBlock]] = {
    "pool": lambda width: LastLevelMaxPool(),
    "conv": lambda width: LastLevelP6P7(width, width),
}


class Fpn(FeaturePyramidNetwork):
    """A pyramid that takes all of a body's maps and leaves out those that are finer than the head's."""

    def __init__(self, arch: ArchSpec) -> None:
        body_maps, levels, width = arch.body_maps, arch.head.levels, arch.maps[0].width
        self._chosen = [str(index) for index in arch.neck.name_readers(body_maps, levels)]
        widths = [body_maps[int(name)].width for name in self._chosen]
        extra = COARSER[levels.coarser](width) if len(levels.strides) > len(widths) else None
        super().__init__(widths, width, extra_blocks=extra)

    def forward(self, x: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
        pyramid: OrderedDict[str, Tensor] = super().forward(OrderedDict((name, x[name]) for name in self._chosen))
        return pyramid
