"""The convolutions of the neck that read the body, where an edit of stages meets it: which one a stage takes over."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from optimizer.arch import ArchSpec
from optimizer.arch.bodies import AnyBody, Position
from optimizer.morph.layers import Channels, take_channels

__all__ = ["inherit_lateral", "name_laterals"]


def name_laterals(arch: ArchSpec) -> dict[int, str]:
    """The neck's convolution that reads what each stage puts out; a stage that the neck leaves out is not in it."""
    return arch.neck.name_readers(arch.body_maps, arch.head.levels)


def inherit_lateral(
    weights: Mapping[str, Tensor], parent: ArchSpec, stage: int, source: Position, columns: Channels
) -> dict[str, Tensor]:
    """The lateral convolution of a child's stage (none for a stage the pyramid leaves out).

    Rearranging moves the place where a stage ends, and with it the residual stream its lateral reads. The weights are
    those of the parent's lateral that reads this stream; if none does, the stage's own where the stream is as wide as
    the one before (a projection that began as an identity keeps the channels' numbers), else zeros, so that the level
    starts from the one above it. A reconstruction: the paper does not say.

    Args:
        source: the parent's block whose output the stage puts out.
        columns: the channels of it that stay.
    """
    laterals = name_laterals(parent)
    if stage not in laterals:
        return {}
    body, starts = parent.body, _list_stream_starts(parent.body)
    readers = {starts[reader, body.depths[reader] - 1]: reader for reader in laterals}
    name = laterals[readers.get(starts[source], stage)]
    weight = weights[f"{name}.weight"]
    width = body.stages[source[0]].blocks[source[1]].out_width
    if width != weight.shape[1]:
        weight = weight.new_zeros(weight.shape[0], width, *weight.shape[2:])
    return {
        f"{laterals[stage]}.weight": take_channels(weight, columns=columns),
        f"{laterals[stage]}.bias": take_channels(weights[f"{name}.bias"]),
    }


def _list_stream_starts(body: AnyBody) -> dict[Position, Position | None]:
    """For each block the one at which its residual stream starts; None is the stem."""
    starts: dict[Position, Position | None] = {}
    start: Position | None = None
    for stage, index, block in body.blocks():
        start = (stage, index) if block.starts_stream else start
        starts[stage, index] = start
    return starts
