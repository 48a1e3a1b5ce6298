"""The lateral convolutions of the pyramid, where an edit meets the neck: which one a stage of the child takes over."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from optimizer.arch import ArchSpec, FasterRCNNHead
from optimizer.arch.actions import Position
from optimizer.morph.layers import Channels, take_channels

__all__ = ["LATERALS", "inherit_lateral"]

LATERALS = "backbone.fpn.inner_blocks"


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
    first_stage = 0 if isinstance(parent.head, FasterRCNNHead) else 1  # a RetinaNet's pyramid starts at stage 2
    if stage < first_stage:
        return {}
    starts = _list_stream_starts(parent)
    readers = {starts[reader, parent.depths[reader] - 1]: reader for reader in range(first_stage, 4)}
    reader = readers.get(starts[source], stage)
    name = f"{LATERALS}.{reader - first_stage}.0"
    weight = weights[f"{name}.weight"]
    width = parent.stages[source[0]].blocks[source[1]].out_width
    if width != weight.shape[1]:
        weight = weight.new_zeros(weight.shape[0], width, 1, 1)
    lateral = f"{LATERALS}.{stage - first_stage}.0"
    return {
        f"{lateral}.weight": take_channels(weight, columns=columns),
        f"{lateral}.bias": take_channels(weights[f"{name}.bias"]),
    }


def _list_stream_starts(arch: ArchSpec) -> dict[Position, Position | None]:
    """For each block the projected block at which its residual stream starts; None is the stem."""
    starts: dict[Position, Position | None] = {}
    start: Position | None = None
    for stage, index, block in arch.blocks():
        start = (stage, index) if block.projection else start
        starts[stage, index] = start
    return starts
