"""How much the channels and blocks of a trained detector matter, read off its weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from optimizer.arch import ArchSpec, Importance, group_channels
from optimizer.arch.actions import Position
from optimizer.morph.layers import list_layers, name_block

__all__ = ["measure_channels", "measure_importance"]


def measure_importance(weights: Mapping[str, Tensor], arch: ArchSpec) -> Importance:
    """What channel and layer pruning rank by (Joint-DetNAS, A.1.2 and A.3)."""
    return Importance(measure_channels(weights, arch), _measure_blocks(weights, arch))


def measure_channels(weights: Mapping[str, Tensor], arch: ArchSpec) -> dict[str, tuple[float, ...]]:
    """Magnitude of each channel's BatchNorm scale, under every name that `group_channels` decides by."""
    return {
        name: tuple(weights[f"{_name_norm(name)}.weight"].detach().abs().tolist())
        for group in group_channels(arch)
        for name in group.names
    }


def _name_norm(group: str) -> str:
    """The BatchNorm that decides over a group of channels: a stream's is that of the projection it starts at."""
    kind, place = group.split(":")
    stage, block, *conv = (int(number) for number in place.split("."))
    norm = "downsample.1" if kind == "stream" else f"bn{conv[0] + 1}"
    return f"{name_block((stage, block))}.{norm}"


def _measure_blocks(weights: Mapping[str, Tensor], arch: ArchSpec) -> dict[Position, float]:
    """L1 norm of each block's parameters: convolutions, BatchNorm scales and shifts, the projection's included."""
    norms = {}
    width = arch.stem_width
    for stage, index, block in arch.blocks():
        name = name_block((stage, index))
        norms[stage, index] = sum(
            weights[f"{name}.{parameter}"].detach().abs().sum().item()
            for layer in list_layers(block, width)
            for parameter in (f"{layer.conv}.weight", f"{layer.norm}.weight", f"{layer.norm}.bias")
        )
        width = block.out_width
    return norms
