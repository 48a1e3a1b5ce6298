"""Channels that are pruned together, how far a set of them shrinks, and which of them stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean

__all__ = [
    "ChannelGroup", "ChannelSet", "OuterLayer", "Site", "kept_channels", "plain_layers", "removable_units",
    "shrunk_widths",
]  # fmt: skip

Site = tuple[int, int, int]  # (stage, block, convolution), each from 0


@dataclass(frozen=True)
class ChannelGroup:
    """Output channels of a body that have to be kept or dropped together.

    Attributes:
        names: the groups of `Importance.channels` that decide; where there are two, their mean does.
        width: channels now.
        sites: the convolutions whose width this is.
        group_width: of a grouped convolution, whose groups of adjacent channels stay whole; else 0.
    """

    names: tuple[str, ...]
    width: int
    sites: tuple[Site, ...]
    group_width: int = 0

    def score_channels(self, channels: Mapping[str, Sequence[float]]) -> tuple[float, ...]:
        """Importance of each channel, from `Importance.channels`."""
        columns = [channels[name] for name in self.names]
        assert all(len(column) == self.width for column in columns), f"importance of {self.names} is of another network"
        return tuple(fmean(values) for values in zip(*columns))


@dataclass(frozen=True)
class OuterLayer:
    """A layer outside the body, by its name in a state dict, and which axis of its weight has what.

    Attributes:
        reads: the axis of its inputs: 1 in a convolution, 0 in a transposed one; outputs have the other one. A linear
            layer is a convolution that reads all cells of a channel, then all of the next.
        norm: the BatchNorm behind it; empty where there is none.
    """

    name: str
    reads: int = 1
    norm: str = ""

    @property
    def writes(self) -> int:
        """The axis of its outputs."""
        return 1 - self.reads


def plain_layers(*names: str) -> tuple[OuterLayer, ...]:
    """Convolutions and linear layers without a BatchNorm."""
    return tuple(OuterLayer(name) for name in names)


@dataclass(frozen=True)
class ChannelSet:
    """Channels outside the body that have to be kept or dropped together.

    Attributes:
        width: how many there are.
        writers: layers that have them for outputs.
        readers: layers that have them for inputs.
    """

    width: int
    writers: tuple[OuterLayer, ...]
    readers: tuple[OuterLayer, ...]


def kept_channels(scores: Sequence[float], width: int, group_width: int = 0) -> tuple[int, ...]:
    """Ascending indices of the `width` most important channels; of equals the first stay.

    With a group width whole groups of adjacent channels stay, by their mean importance.
    """
    size = group_width or 1
    assert len(scores) % size == 0 and width % size == 0, f"{len(scores)} and {width} channels in groups of {size}"
    means = [fmean(scores[start : start + size]) for start in range(0, len(scores), size)]
    best = sorted(range(len(means)), key=lambda group: -means[group])[: width // size]
    return tuple(group * size + channel for group in sorted(best) for channel in range(size))


def removable_units(group: ChannelGroup, round_to: int, min_width: int) -> tuple[int, ...]:
    """Sizes of the units a group can lose one after the other, the least important first.

    A unit is `round_to` channels, or one group of a grouped convolution; the first is what makes the width a multiple.
    At least `min_width` channels stay, or all there are.
    """
    unit = group.group_width or round_to
    sizes = []
    left, size = group.width, group.width % unit or unit
    while left - size >= max(1, min(min_width, group.width)):
        sizes.append(size)
        left, size = left - size, unit
    return tuple(sizes)


def shrunk_widths(
    groups: Sequence[ChannelGroup],
    channels: Mapping[str, Sequence[float]],
    ratio: float,
    round_to: int,
    min_width: int,
) -> tuple[int, ...]:
    """Width of each group after the globally least important units went, until `ratio` of all channels are gone.

    Equal to the present widths where no group can lose a unit.
    """
    units = []
    for index, group in enumerate(groups):
        sizes = removable_units(group, round_to, min_width)
        scores = _score_units(group.score_channels(channels), sizes, group.group_width)
        units += [(score, index, order, size) for order, (score, size) in enumerate(zip(scores, sizes))]
    to_remove = ratio * sum(group.width * len(group.names) for group in groups)
    widths = [group.width for group in groups]
    removed = 0
    for _, index, _, size in sorted(units):
        if removed >= to_remove:
            break
        widths[index] -= size
        removed += size * len(groups[index].names)
    return tuple(widths)


def _score_units(scores: Sequence[float], sizes: Sequence[int], group_width: int) -> list[float]:
    """Mean importance of each removable unit, ascending."""
    if group_width:
        parts = [scores[start : start + group_width] for start in range(0, len(scores), group_width)]
        return sorted(fmean(part) for part in parts)[: len(sizes)]
    ascending = sorted(scores)
    ends = list(accumulate(sizes))
    means = (fmean(ascending[end - size : end]) for size, end in zip(sizes, ends))
    return list(accumulate(means, max))  # rounding must not put a later unit before an earlier one
