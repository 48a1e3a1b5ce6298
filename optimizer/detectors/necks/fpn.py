"""The module of an `FpnSpec`: torchvision's feature pyramid, on those of the body's maps that the head wants."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from torch import Tensor
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7

from optimizer.arch.spec import ArchSpec

__all__ = ["Fpn", "prepare_fpn"]

COARSER: Mapping[str, Callable[[int], ExtraFPNBlock]] = {
    "pool": lambda width: LastLevelMaxPool(),
    "conv": lambda width: LastLevelP6P7(width, width),
}


class Fpn(FeaturePyramidNetwork):
    """A pyramid that takes all of a body's maps and leaves out those that are finer than the head's."""

    def __init__(self, arch: ArchSpec, coarser: ExtraFPNBlock | None) -> None:
        self._chosen = _choose_maps(arch)
        widths = [arch.body_maps[int(name)].width for name in self._chosen]
        super().__init__(widths, arch.maps[0].width, extra_blocks=coarser)

    def forward(self, x: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
        pyramid: OrderedDict[str, Tensor] = super().forward(OrderedDict((name, x[name]) for name in self._chosen))
        return pyramid


def prepare_fpn(arch: ArchSpec) -> Callable[[], Fpn]:
    """Draws the first weights of the levels that are coarser than the body's maps; called, the rest."""
    levels = arch.head.levels
    made = len(levels.strides) > len(_choose_maps(arch))
    coarser = COARSER[levels.coarser](arch.maps[0].width) if made else None
    return lambda: Fpn(arch, coarser)


def _choose_maps(arch: ArchSpec) -> list[str]:
    """Names of the body's maps that the pyramid reads."""
    return [str(index) for index in arch.neck.name_readers(arch.body_maps, arch.head.levels)]
