"""The tensors of a body's layer: their names, how they are narrowed, how new ones begin."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from optimizer.arch.bodies import AnyBody, Layer, Position

__all__ = ["BODY", "Channels", "make_layer", "name_block", "take_channels", "take_layer"]

BODY = "backbone.body"
Channels = Tensor | None  # ascending indices of the channels to take; None is all of them


def name_block(body: AnyBody, position: Position) -> str:
    """A block's name in a detector's state dict: ``backbone.body.layer<stage from 1>.<block>`` in a ResNet."""
    return f"{BODY}.{body.name_block(position)}"


def take_channels(tensor: Tensor, rows: Channels = None, columns: Channels = None) -> Tensor:
    """A copy with these entries of the first dimension and of the second; gradients flow through it."""
    if rows is None and columns is None:
        return tensor.clone()
    taken = tensor if rows is None else tensor.index_select(0, rows)
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
