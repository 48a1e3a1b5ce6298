"""The module of a `DeconvSpec`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import pairwise

from torch import Tensor, nn

from optimizer.arch.spec import ArchSpec

__all__ = ["Deconv", "prepare_deconv"]


class Deconv(nn.Sequential):
    """Transposed convolutions on the last of a body's maps, whose output is the only map there is.

    First weights are those of the CenterNet repository's plain ResNets: normal, with a deviation of 0.001.
    """

    def __init__(self, in_width: int, widths: tuple[int, ...]) -> None:
        super().__init__(*(_Double(read, width) for read, width in pairwise((in_width, *widths))))

    def forward(self, x: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
        return OrderedDict({"0": super().forward(list(x.values())[-1])})


class _Double(nn.Sequential):
    """A map of twice as many rows and columns."""

    def __init__(self, in_width: int, width: int) -> None:
        conv = nn.ConvTranspose2d(in_width, width, 4, stride=2, padding=1, bias=False)
        nn.init.normal_(conv.weight, std=0.001)
        super().__init__(OrderedDict(conv=conv, norm=nn.BatchNorm2d(width), relu=nn.ReLU(inplace=True)))


def prepare_deconv(arch: ArchSpec) -> Callable[[], Deconv]:
    """Draws nothing before the body's weights; called, the neck's."""
    sets = arch.neck.channel_sets(arch.body_maps, arch.head.levels, ())
    return lambda: Deconv(arch.body_maps[-1].width, tuple(channels.width for channels in sets))
