"""How much the channels and blocks of a trained detector matter, read off its weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from optimizer.arch import ArchSpec, Importance
from optimizer.arch.bodies import Position
from optimizer.morph.layers import BODY, name_block

__all__ = ["measure_channels", "measure_importance"]


def measure_importance(weights: Mapping[str, Tensor], arch: ArchSpec) -> Importance:
    """What channel and layer pruning rank by (Joint-DetNAS, A.1.2 and A.3)."""
    return Importance(measure_channels(weights, arch), _measure_blocks(weights, arch))


def measure_channels(weights: Mapping[str, Tensor], arch: ArchSpec) -> dict[str, tuple[float, ...]]:
    """Magnitude of each channel's BatchNorm scale, under every name that the body's channel groups are decided by."""
    return {
        name: tuple(weights[f"{BODY}.{arch.body.name_norm(name)}.weight"].detach().abs().tolist())
        for group in arch.body.channel_groups()
        for name in group.names
    }


def _measure_blocks(weights: Mapping[str, Tensor], arch: ArchSpec) -> dict[Position, float]:
    """L1 norm of each block's parameters: convolutions, BatchNorm scales and shifts, the projection's included."""
    norms = {}
    width = arch.body.stem_width
    for stage, index, block in arch.body.blocks():
        name = name_block(arch.body, (stage, index))
        norms[stage, index] = sum(
            weights[f"{name}.{parameter}"].detach().abs().sum().item()
            for layer in block.list_layers(width)
            for parameter in (f"{layer.conv}.weight", f"{layer.norm}.weight", f"{layer.norm}.bias")
        )
        width = block.out_width
    return norms
