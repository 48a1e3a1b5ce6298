"""The layers of the neck that read the body, where an edit of stages meets it: which ones a stage takes over."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from optimizer.arch import ArchSpec
from optimizer.arch.bodies import AnyBody, Position
from optimizer.arch.channels import OuterLayer
from optimizer.morph.layers import Channels

__all__ = ["inherit_lateral", "name_laterals"]


def name_laterals(arch: ArchSpec) -> dict[int, tuple[OuterLayer, ...]]:
    """The neck's layers that read what each stage puts out; a stage that the neck leaves out is not in it."""
    return arch.neck.name_readers(arch.body_maps, arch.head.levels)


def inherit_lateral(
    weights: Mapping[str, Tensor], parent: ArchSpec, stage: int, source: Position, columns: Channels
) -> dict[str, Tensor]:
    """The tensors by which the neck reads a child's stage (none for a stage that it leaves out).

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
    width = body.stages[source[0]].blocks[source[1]].out_width
    tensors: dict[str, Tensor] = {}
    for number, wanted in enumerate(laterals[stage]):
        alike = laterals[readers.get(starts[source], stage)]
        tensors |= _take_lateral(weights, alike[number] if number < len(alike) else wanted, wanted, width, columns)
    return tensors


def _take_lateral(
    weights: Mapping[str, Tensor], found: OuterLayer, wanted: OuterLayer, width: int, columns: Channels
) -> dict[str, Tensor]:
    """The tensors of a layer from those of another one, or zeros, that read `columns` of so many channels."""
    weight = weights[f"{found.name}.weight"]
    if width != weight.shape[found.reads]:
        shape = list(weight.shape)
        shape[found.reads] = width
        weight = weight.new_zeros(shape)
    taken = weight.clone() if columns is None else weight.index_select(found.reads, columns)
    tensors = {f"{wanted.name}.weight": taken}
    if f"{found.name}.bias" in weights:
        tensors[f"{wanted.name}.bias"] = weights[f"{found.name}.bias"].clone()
    return tensors


def _list_stream_starts(body: AnyBody) -> dict[Position, Position | None]:
    """For each block the one at which its residual stream starts; None is the stem."""
    starts: dict[Position, Position | None] = {}
    start: Position | None = None
    for stage, index, block in body.blocks():
        start = (stage, index) if block.starts_stream else start
        starts[stage, index] = start
    return starts
