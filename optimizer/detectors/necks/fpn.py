"""The module of an `FpnSpec`: torchvision's feature pyramid, on those of the body's maps that the head wants."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from torch import Tensor
from torch.nn.functional import relu
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7

from optimizer.arch.necks.fpn import COARSER, Coarser, FpnSpec
from optimizer.arch.spec import ArchSpec

__all__ = ["Fpn", "prepare_fpn"]


class ConvLevels(LastLevelP6P7):
    """Two levels coarser than the body's maps, each by a convolution, as a `Coarser` says."""

    def __init__(self, reads: int, width: int, coarser: Coarser) -> None:
        super().__init__(reads, width)
        self.coarser = coarser

    def forward(self, p: list[Tensor], c: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        p6 = self.p6((c if self.coarser.of_body else p)[-1])
        p7 = self.p7(relu(p6) if self.coarser.between else p6)
        return [*p, p6, p7], [*names, "p6", "p7"]


def _make_pool(arch: ArchSpec) -> ExtraFPNBlock:
    return LastLevelMaxPool()


def _make_convs(arch: ArchSpec) -> ExtraFPNBlock:
    assert isinstance(arch.neck, FpnSpec)
    coarser, width = COARSER[arch.neck.coarser], arch.maps[0].width
    return ConvLevels(arch.body_maps[-1].width if coarser.of_body else width, width, coarser)


EXTRA: Mapping[str, Callable[[ArchSpec], ExtraFPNBlock]] = {"pool": _make_pool, "conv": _make_convs}


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
    coarser = EXTRA[levels.coarser](arch) if made else None
    return lambda: Fpn(arch, coarser)


def _choose_maps(arch: ArchSpec) -> list[str]:
    """Names of the body's maps that the pyramid reads."""
    return [str(index) for index in arch.neck.name_readers(arch.body_maps, arch.head.levels)]
