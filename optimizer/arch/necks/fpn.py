"""`FpnSpec`: a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.arch.channels import ChannelSet, OuterLayer, plain_layers
from optimizer.arch.cost import Cost, count_conv
from optimizer.arch.heads.base import Levels
from optimizer.arch.maps import FeatureMap
from optimizer.arch.necks.base import Neck
from optimizer.errors import InputError

__all__ = ["FpnSpec"]

FPN = "backbone.fpn"


@dataclass(frozen=True)
class FpnSpec(Neck):
    """A lateral 1x1 and a 3x3 output convolution for each of the body's maps that the head's levels name.

    Coarser levels are made from the last one, as the head wants them.

    Attributes:
        width: channels of every level.
    """

    kind = "fpn"
    title = "FPN"
    width_fields = {"FPN": "width"}
    width: int = 256

    def __post_init__(self) -> None:
        if self.width < 1:
            raise InputError(f"a pyramid's width is positive, not {self.width}")

    def maps(self, body_maps: Sequence[FeatureMap], levels: Levels) -> tuple[FeatureMap, ...]:
        pyramid = [body_maps[index].widen(self.width) for index in self._choose_maps(body_maps, levels)]
        while len(pyramid) < len(levels.strides):
            pyramid.append(pyramid[-1].halve())
        return tuple(pyramid)

    def count(self, body_maps: Sequence[FeatureMap], levels: Levels) -> Cost:
        chosen, pyramid = self._choose_maps(body_maps, levels), self.maps(body_maps, levels)
        cost = Cost()
        for index, level in zip(chosen, pyramid):
            cost += count_conv(body_maps[index].width, self.width, 1, level.cells, bias=True)
            cost += count_conv(self.width, self.width, 3, level.cells, bias=True)
        if levels.coarser == "conv":
            for level in pyramid[len(chosen) :]:
                cost += count_conv(self.width, self.width, 3, level.cells, bias=True)
        return cost

    def name_readers(self, body_maps: Sequence[FeatureMap], levels: Levels) -> dict[int, OuterLayer]:
        chosen = self._choose_maps(body_maps, levels)
        return {index: OuterLayer(f"{FPN}.inner_blocks.{level}.0") for level, index in enumerate(chosen)}

    def channel_sets(
        self, body_maps: Sequence[FeatureMap], levels: Levels, readers: tuple[OuterLayer, ...]
    ) -> list[ChannelSet]:
        """Two sets: the laterals' outputs are added from level to level, and all levels go through the same head."""
        chosen = self._choose_maps(body_maps, levels)
        laterals = tuple(self.name_readers(body_maps, levels).values())
        outputs = plain_layers(*(f"{FPN}.layer_blocks.{level}.0" for level in range(len(chosen))))
        extra: tuple[OuterLayer, ...] = ()  # each writes a level and reads the one before
        if levels.coarser == "conv":
            coarser = range(len(levels.strides) - len(chosen))
            extra = plain_layers(*(f"{FPN}.extra_blocks.p{6 + level}" for level in coarser))
        return [
            ChannelSet(self.width, laterals, outputs),
            ChannelSet(self.width, (*outputs, *extra), (*extra, *readers)),
        ]

    def _choose_maps(self, body_maps: Sequence[FeatureMap], levels: Levels) -> list[int]:
        """Numbers of the body's maps that the pyramid reads: all from the head's finest stride on."""
        chosen = [index for index, level in enumerate(body_maps) if level.stride >= levels.strides[0]]
        strides = tuple(body_maps[index].stride for index in chosen)
        if not strides or strides != levels.strides[: len(strides)]:
            raise InputError(
                f"the head reads maps of strides {levels.strides}, but the body's have strides "
                f"{tuple(level.stride for level in body_maps)}: no pyramid joins them"
            )
        return chosen
