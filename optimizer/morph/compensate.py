"""What is dropped is made up for by what stays: readers refitted to the channels they keep, by least squares.

A reader that loses channels loses their part of its sum. Much of that can be told from the channels that stay: with the
mean and the covariance of what the reader reads, the best linear guess of the dropped ones has a closed form, and it
folds into the reader's weights and bias. No labels and no training are needed.

An approximation where a reader has several taps: one guess, by the covariance over all cells, serves each of them, and
cells beside the border count as if they were inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from optimizer.arch import ArchSpec, Edit
from optimizer.arch.channels import OuterLayer
from optimizer.detectors.base import Detector
from optimizer.morph.inherit import inherit
from optimizer.morph.laterals import name_laterals
from optimizer.morph.layers import BODY, name_block
from optimizer.morph.neck import list_channel_sets

__all__ = ["Moments", "compensate", "measure_moments"]

RIDGE = 1e-3  # of the mean variance: channels that never fire have none


@dataclass(frozen=True)
class Moment:
    """What a layer reads, over the cells of some images: mean (width,) and covariance (width, width), float64."""

    mean: Tensor
    covariance: Tensor

    def take(self, channels: Tensor) -> Moment:
        """Of these channels alone."""
        return Moment(self.mean[channels], self.covariance[channels][:, channels])


Moments = Mapping[str, Moment]  # by the reader's name


@torch.no_grad()
def measure_moments(detector: Detector, batches: Iterable[Tensor]) -> dict[str, Moment]:
    """What each reader of prunable channels reads while the detector looks at these batches (B, 3, H, W)."""
    widths = {reader.name: width for reader, width in _list_readers(detector.arch)}
    sums = {name: _Sums() for name in widths}
    device = next(detector.parameters()).device
    with _listening(detector, {name: _Listener(widths[name], sums[name]) for name in widths}):
        for images in batches:
            detector.detect(images.to(device))
    return {name: total.close() for name, total in sums.items() if total.count}


def compensate(
    weights: Mapping[str, Tensor], edit: Edit, moments: Moments, ranked_by: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Moment]]:
    """The parent's weights with what the edit is about to drop folded into what it keeps, and the child's moments.

    To be followed by `inherit` with the same ranks. A layer that an edit of blocks moves, or whose input it changes,
    has no moments any more, and is left alone.
    """
    if not edit.keeps_blocks:
        moved = (f"{BODY}.", *(lateral.name for layers in name_laterals(edit.parent).values() for lateral in layers))
        return dict(weights), {name: moment for name, moment in moments.items() if not name.startswith(moved)}
    folded, left = dict(weights), dict(moments)
    if (edit.parent.body, edit.parent.outer_widths) == (edit.child.body, edit.child.outer_widths):
        return folded, left
    for reader, columns in _list_kept_columns(weights, edit, moments, ranked_by):
        names = [name for name in (f"{reader.name}.weight", f"{reader.name}.bias") if name in weights]
        weight, moment = weights[names[0]].movedim(reader.reads, 1), moments[reader.name]
        cells = weight.shape[1] // len(moment.mean)
        kept = columns[::cells] // cells
        changed, *bias = _fold(weight, weights.get(f"{reader.name}.bias"), moment, kept)
        folded |= zip(names, [changed.movedim(1, reader.reads), *bias])
        left[reader.name] = moment.take(kept)
    return folded, left


def _fold(weight: Tensor, bias: Tensor | None, moment: Moment, kept: Tensor) -> Iterator[Tensor]:
    """The reader's weight and, where it has one, its bias, such that the columns of kept channels stand for all."""
    is_kept = torch.zeros(len(moment.mean), dtype=torch.bool, device=weight.device)
    is_kept[kept] = True
    dropped = (~is_kept).nonzero().flatten()
    factors, constants = _guess(moment, kept, dropped)
    taps = weight.reshape(len(weight), len(moment.mean), -1).clone()
    gone = taps[:, dropped]
    taps[:, kept] += torch.einsum("odt,dk->okt", gone, factors.to(weight))
    yield taps.reshape(weight.shape)
    if bias is not None:
        yield bias + gone.sum(2) @ constants.to(weight)


def _guess(moment: Moment, kept: Tensor, dropped: Tensor) -> tuple[Tensor, Tensor]:
    """The best linear guess of the dropped channels: factors (dropped, kept) for those kept, constants (dropped,)."""
    inner = moment.covariance[kept][:, kept]
    ridge = RIDGE * inner.diagonal().mean().clamp(min=torch.finfo(inner.dtype).tiny)
    inner = inner + ridge * torch.eye(len(kept), dtype=inner.dtype, device=inner.device)
    factors = torch.linalg.solve(inner, moment.covariance[kept][:, dropped]).T
    return factors, moment.mean[dropped] - factors @ moment.mean[kept]


def _list_kept_columns(
    weights: Mapping[str, Tensor], edit: Edit, moments: Moments, ranked_by: Mapping[str, Tensor]
) -> Iterator[tuple[OuterLayer, Tensor]]:
    """Readers that lose inputs, and which they keep: numbers of columns take the weights' way through `inherit`."""
    readers = [reader for reader, _ in _list_readers(edit.parent) if reader.name in moments]
    numbered = dict(weights)
    for reader in readers:
        weight = weights[f"{reader.name}.weight"].movedim(reader.reads, 0)
        columns = torch.arange(len(weight), dtype=weight.dtype, device=weight.device)
        numbers = columns.view(-1, *[1] * (weight.ndim - 1)).expand_as(weight)
        numbered[f"{reader.name}.weight"] = numbers.movedim(0, reader.reads)
    child = inherit(numbered, edit, ranked_by)
    for reader in readers:
        kept = child[f"{reader.name}.weight"].movedim(reader.reads, 0)
        if len(kept) < weights[f"{reader.name}.weight"].shape[reader.reads]:
            yield reader, kept.flatten(1)[:, 0].long()


def _list_readers(arch: ArchSpec) -> Iterator[tuple[OuterLayer, int]]:
    """Every layer that reads prunable channels, and how many; not a grouped convolution, whose groups stay whole."""
    width = arch.body.stem_width
    for stage, index, block in arch.body.blocks():
        name = name_block(arch.body, (stage, index))
        for layer in block.list_layers(width):
            if not layer.group_width:
                yield OuterLayer(f"{name}.{layer.conv}"), layer.shape[1]
        width = block.out_width
    for stage, laterals in name_laterals(arch).items():
        yield from ((lateral, arch.body_maps[stage].width) for lateral in laterals)
    for channels in list_channel_sets(arch):
        yield from ((reader, channels.width) for reader in channels.readers)


class _Sums:
    """Running sums of what a layer reads."""

    def __init__(self) -> None:
        self.count = 0
        self.first: Tensor | float = 0.0
        self.second: Tensor | float = 0.0

    def add(self, cells: Tensor) -> None:
        """Cells (N, width)."""
        self.count += len(cells)
        self.first = self.first + cells.sum(0, dtype=torch.float64)
        self.second = self.second + (cells.T @ cells).double()

    def close(self) -> Moment:
        assert isinstance(self.first, Tensor) and isinstance(self.second, Tensor)
        mean = self.first / self.count
        return Moment(mean, self.second / self.count - torch.outer(mean, mean))


@dataclass(frozen=True)
class _Listener:
    """Adds what a layer is given to its sums; a linear layer reads all cells of a channel, then all of the next."""

    width: int
    sums: _Sums

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        read = inputs[0].detach().float()
        self.sums.add(read.reshape(len(read), self.width, -1).transpose(1, 2).reshape(-1, self.width))


@contextmanager
def _listening(detector: nn.Module, listeners: Mapping[str, _Listener]) -> Iterator[None]:
    handles = [detector.get_submodule(name).register_forward_pre_hook(hook) for name, hook in listeners.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
