"""`DeconvSpec`: CenterNet's way back up, transposed convolutions on the body's last map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from optimizer.arch.channels import ChannelSet, OuterLayer
from optimizer.arch.cost import Cost, count_conv, count_norm, count_relu
from optimizer.arch.heads.base import Levels
from optimizer.arch.maps import FeatureMap
from optimizer.arch.necks.base import Neck
from optimizer.errors import InputError

__all__ = ["DeconvSpec"]

DECONV = "backbone.deconv"
KERNEL = 4
UP = 8  # from the map that is read to the one that is put out


@dataclass(frozen=True)
class DeconvSpec(Neck):
    """Three transposed convolutions of 4x4 with a stride of 2, each with a BatchNorm and a ReLU (FACTS 4.9).

    The map is eight times as fine as the body's last one, and covers whole cells of that one: it ends beyond the canvas
    where the body's stride does not divide it.

    Attributes:
        width_16, width_8, width_4: channels behind each of them, by the stride there under a body that ends at 32.
    """

    kind = "deconv"
    title = "deconvolutions"
    width_fields = {"deconvolution 16": "width_16", "deconvolution 8": "width_8", "deconvolution 4": "width_4"}
    width_16: int = 256
    width_8: int = 256
    width_4: int = 256

    def __post_init__(self) -> None:
        if min(self.outputs) < 1:
            raise InputError(f"widths of transposed convolutions are positive, not {self}")

    @property
    def outputs(self) -> tuple[int, int, int]:
        """Channels behind each layer, in the order data flows."""
        return self.width_16, self.width_8, self.width_4

    def maps(self, body_maps: Sequence[FeatureMap], levels: Levels) -> tuple[FeatureMap, ...]:
        last = body_maps[-1]
        if levels.strides != (last.stride // UP,):
            raise InputError(
                f"the head reads maps of strides {levels.strides}; transposed convolutions make one of stride "
                f"{last.stride // UP} of this body's last"
            )
        return (FeatureMap(self.width_4, last.stride // UP, UP * last.rows, UP * last.columns),)

    def count(self, body_maps: Sequence[FeatureMap], levels: Levels) -> Cost:
        """A transposed convolution multiplies its whole kernel with each cell that it reads."""
        cost, cells = Cost(), body_maps[-1].cells
        for read, width in pairwise((body_maps[-1].width, *self.outputs)):
            cost += count_conv(read, width, KERNEL, cells)
            cells *= 4
            cost += count_norm(width, cells) + count_relu(width, cells)
        return cost

    def name_readers(self, body_maps: Sequence[FeatureMap], levels: Levels) -> dict[int, tuple[OuterLayer, ...]]:
        return {len(body_maps) - 1: (self._list_layers()[0],)}

    def channel_sets(
        self, body_maps: Sequence[FeatureMap], levels: Levels, readers: tuple[OuterLayer, ...]
    ) -> list[ChannelSet]:
        layers = self._list_layers()
        behind = [*((layer,) for layer in layers[1:]), readers]
        return [ChannelSet(width, (layer,), read) for width, layer, read in zip(self.outputs, layers, behind)]

    def _list_layers(self) -> list[OuterLayer]:
        return [OuterLayer(f"{DECONV}.{at}.conv", reads=0, norm=f"{DECONV}.{at}.norm") for at in range(3)]
