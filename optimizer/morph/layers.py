"""The tensors of a layer: their names, how they are narrowed, how new ones begin."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from optimizer.arch.bodies import AnyBody, Layer, Position
from optimizer.arch.channels import OuterLayer

__all__ = [
    "BODY", "VECTORS", "Channels", "fit_kernel", "make_layer", "name_block", "take_channels", "take_inputs",
    "take_layer", "take_outputs",
]  # fmt: skip

BODY = "backbone.body"
VECTORS = ("weight", "bias", "running_mean", "running_var")  # of a BatchNorm, one number a channel
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


def fit_kernel(weight: Tensor, kernel: int) -> Tensor:
    """Filters (out, in, k, k) of another odd size about the same centre: the borders are cropped, or zeros are added.

    A convolution that pads its input by half its kernel computes the same with zeros added.
    """
    margin = (kernel - weight.shape[-1]) // 2
    return functional.pad(weight, (margin,) * 4) if margin else weight


def take_layer(
    weights: Mapping[str, Tensor],
    block: str,
    layer: Layer,
    rows: Channels,
    columns: Channels,
    origin: Layer | None = None,
) -> dict[str, Tensor]:
    """The tensors that a layer of `block` keeps with these outputs and these inputs, by name within the block.

    The groups of a grouped convolution stay whole with all inputs of each: `columns` are not for them.

    Args:
        origin: the layer of `block` that they are taken from, where it has another name or kernel there.
    """
    origin = origin or layer
    weight = take_channels(weights[f"{block}.{origin.conv}.weight"], rows, None if layer.group_width else columns)
    weight = fit_kernel(weight, layer.shape[-1])
    assert weight.shape == layer.shape, f"{block}.{origin.conv} comes to {tuple(weight.shape)}, not {layer.shape}"
    vectors: dict[str, Channels] = dict.fromkeys(VECTORS, rows)
    vectors["num_batches_tracked"] = None
    return {
        f"{layer.conv}.weight": weight,
        **{
            f"{layer.norm}.{name}": take_channels(weights[f"{block}.{origin.norm}.{name}"], kept)
            for name, kept in vectors.items()
        },
    }


def take_inputs(weights: Mapping[str, Tensor], layer: OuterLayer, kept: Tensor, width: int) -> dict[str, Tensor]:
    """What changes of a layer outside the body that reads these of `width` channels alone, by name."""
    weight = weights[f"{layer.name}.weight"]
    cells = torch.arange(weight.shape[layer.reads] // width, device=weight.device)
    columns = (kept[:, None] * len(cells) + cells).flatten()
    return {f"{layer.name}.weight": weight.index_select(layer.reads, columns)}


def take_outputs(weights: Mapping[str, Tensor], layer: OuterLayer, kept: Tensor) -> dict[str, Tensor]:
    """What changes of a layer outside the body that writes these channels alone, its BatchNorm included, by name."""
    names = [f"{layer.name}.bias", *(f"{layer.norm}.{vector}" for vector in VECTORS if layer.norm)]
    narrowed = {name: weights[name].index_select(0, kept) for name in names if name in weights}
    return {f"{layer.name}.weight": weights[f"{layer.name}.weight"].index_select(layer.writes, kept), **narrowed}


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
