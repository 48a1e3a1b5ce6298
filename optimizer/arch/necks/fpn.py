"""`FpnSpec`: a feature pyramid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from optimizer.arch.channels import ChannelSet, OuterLayer, plain_layers
from optimizer.arch.cost import Cost, count_conv
from optimizer.arch.heads.base import Levels
from optimizer.arch.maps import FeatureMap
from optimizer.arch.necks.base import Neck
from optimizer.arch.parts import Form, later_field
from optimizer.errors import InputError

__all__ = ["COARSER", "Coarser", "FpnSpec"]

FPN = "backbone.fpn"


@dataclass(frozen=True)
class Coarser:
    """How convolutions make the levels that are coarser than the body's maps, each from the one before.

    Attributes:
        of_body: whether the first of them reads the body's last map; otherwise the pyramid's.
        between: whether there is a ReLU between them.
    """

    of_body: bool
    between: bool = True


COARSER: Mapping[str, Coarser] = {
    "pyramid": Coarser(of_body=False),  # torchvision
    "body": Coarser(of_body=True),  # RetinaNet's paper, detectron2
    "body linear": Coarser(of_body=True, between=False),  # mmdetection
}


@dataclass(frozen=True)
class FpnSpec(Neck):
    """A lateral 1x1 and a 3x3 output convolution for each of the body's maps that the head's levels name.

    Coarser levels are made as the head wants them.

    Attributes:
        width: channels of every level.
        coarser: a key of `COARSER`, for a head whose coarser levels are made by convolutions.
    """

    kind = "fpn"
    title = "FPN"
    width_fields = {"FPN": "width"}
    width: int = 256
    coarser: str = later_field("pyramid")

    def __post_init__(self) -> None:
        if self.width < 1:
            raise InputError(f"a pyramid's width is positive, not {self.width}")
        if self.coarser not in COARSER:
            raise InputError(f"coarser levels are made of {' or '.join(COARSER)}, not of {self.coarser!r}")

    def take_form(self, form: Form) -> FpnSpec:
        return replace(self, coarser=form.coarser)

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
            reads = body_maps[-1].width if COARSER[self.coarser].of_body else self.width
            for level in pyramid[len(chosen) :]:
                cost += count_conv(reads, self.width, 3, level.cells, bias=True)
                reads = self.width
        return cost

    def name_readers(self, body_maps: Sequence[FeatureMap], levels: Levels) -> dict[int, tuple[OuterLayer, ...]]:
        chosen = self._choose_maps(body_maps, levels)
        readers = {index: plain_layers(f"{FPN}.inner_blocks.{level}.0") for level, index in enumerate(chosen)}
        if COARSER[self.coarser].of_body:
            readers[chosen[-1]] += self._name_coarser(levels, len(chosen))[:1]
        return readers

    def channel_sets(
        self, body_maps: Sequence[FeatureMap], levels: Levels, readers: tuple[OuterLayer, ...]
    ) -> list[ChannelSet]:
        """Two sets: the laterals' outputs are added from level to level, and all levels go through the same head."""
        chosen = self._choose_maps(body_maps, levels)
        laterals = tuple(layers[0] for layers in self.name_readers(body_maps, levels).values())
        outputs = plain_layers(*(f"{FPN}.layer_blocks.{level}.0" for level in range(len(chosen))))
        extra = self._name_coarser(levels, len(chosen))
        within = extra[1:] if COARSER[self.coarser].of_body else extra  # those that read a level of the pyramid
        return [
            ChannelSet(self.width, laterals, outputs),
            ChannelSet(self.width, (*outputs, *extra), (*within, *readers)),
        ]

    def _name_coarser(self, levels: Levels, finer: int) -> tuple[OuterLayer, ...]:
        """The convolutions that make levels coarser than the body's maps, where any do; each makes one."""
        if levels.coarser != "conv":
            return ()
        return plain_layers(*(f"{FPN}.extra_blocks.p{6 + level}" for level in range(len(levels.strides) - finer)))

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
