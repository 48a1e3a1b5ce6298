"""The tensors of one convolution with its BatchNorm: their names, how they are narrowed, how new ones begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from optimizer.arch import BlockSpec
from optimizer.arch.actions import Position

__all__ = ["BODY", "Channels", "Layer", "list_layers", "make_layer", "name_block", "take_channels", "take_layer"]

BODY = "backbone.body"
Channels = Tensor | None  # ascending indices of the channels to take; None is all of them


@dataclass(frozen=True)
class Layer:
    """A convolution of a residual block and the BatchNorm behind it.

    Attributes:
        conv, norm: names of the two within the block.
        shape: of the convolution's weight: (out, in / groups, kernel, kernel).
        group_width: channels a group of a grouped convolution, which may be down to one group; 0 is an ordinary one.
    """

    conv: str
    norm: str
    shape: tuple[int, int, int, int]
    group_width: int = 0


def name_block(position: Position) -> str:
    """torchvision's name of a block: ``backbone.body.layer<stage from 1>.<block>``."""
    stage, block = position
    return f"{BODY}.layer{stage + 1}.{block}"


def list_layers(block: BlockSpec, in_width: int) -> list[Layer]:
    """The convolutions of a block in the order of its widths, then the projection where there is one."""
    kernels = (3, 3) if len(block.widths) == 2 else (1, 3, 1)
    layers = []
    width = in_width
    for index, (out_width, kernel) in enumerate(zip(block.widths, kernels)):
        group_width = block.group_width if index == 1 else 0
        shape = (out_width, group_width or width, kernel, kernel)
        layers.append(Layer(f"conv{index + 1}", f"bn{index + 1}", shape, group_width))
        width = out_width
    if block.projection:
        layers.append(Layer("downsample.0", "downsample.1", (block.out_width, in_width, 1, 1)))
    return layers


def take_channels(tensor: Tensor, rows: Channels = None, columns: Channels = None) -> Tensor:
    """A copy with these entries of the first dimension and of the second."""
    taken = tensor.detach()
    if rows is None and columns is None:
        return taken.clone()
    taken = taken if rows is None else taken.index_select(0, rows)
    return taken if columns is None else taken.index_select(1, columns)


def take_layer(
    weights: Mapping[str, Tensor], block: str, layer: Layer, rows: Channels, columns: Channels
) -> dict[str, Tensor]:
    """The tensors that a layer of `block` keeps with these outputs and these inputs, by name within the block.

    The groups of a grouped convolution stay whole with all inputs of each: `columns` are not for them.
    """
    conv, norm = f"{layer.conv}.weight", layer.norm
    weight = take_channels(weights[f"{block}.{conv}"], rows, None if layer.group_width else columns)
    assert weight.shape == layer.shape, f"{block}.{conv} comes to {tuple(weight.shape)}, not {layer.shape}"
    vectors = [f"{norm}.{vector}" for vector in ("weight", "bias", "running_mean", "running_var")]
    counter = f"{norm}.num_batches_tracked"
    return {
        conv: weight,
        **{vector: take_channels(weights[f"{block}.{vector}"], rows) for vector in vectors},
        counter: take_channels(weights[f"{block}.{counter}"]),
    }


def make_layer(layer: Layer, scale: float, like: Tensor) -> dict[str, Tensor]:
    """The tensors of a new layer that passes each channel on to its own number, by name within the block.

    Args:
        scale: of the BatchNorm, whose statistics are those of standard normal input.
        like: a tensor of the wanted type and device.
    """
    out_width, in_width, kernel, _ = layer.shape
    weight = like.new_zeros(layer.shape)
    rows = torch.arange(out_width, device=like.device)
    columns = rows % (layer.group_width or out_width)
    rows, columns = rows[columns < in_width], columns[columns < in_width]
    weight[rows, columns, kernel // 2, kernel // 2] = 1
    return {
        f"{layer.conv}.weight": weight,
        f"{layer.norm}.weight": like.new_full((out_width,), scale),
        f"{layer.norm}.bias": like.new_zeros(out_width),
        f"{layer.norm}.running_mean": like.new_zeros(out_width),
        f"{layer.norm}.running_var": like.new_ones(out_width),
        f"{layer.norm}.num_batches_tracked": torch.zeros((), dtype=torch.int64, device=like.device),
    }
