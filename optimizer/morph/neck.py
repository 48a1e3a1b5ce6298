"""Neck and heads of a child that are narrower than its parent's: which channels stay, in every tensor that has them.

The paper prunes the backbone alone, so all of this is ours. A channel counts as much as the L1 norm of the weights that
write it: of its filter, or of its filters where several layers share the channel; behind a BatchNorm, as in the body,
as much as its scale.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from optimizer.arch import ArchSpec, kept_channels
from optimizer.arch.channels import ChannelSet, OuterLayer
from optimizer.morph.layers import take_inputs, take_outputs

__all__ = ["list_channel_sets", "narrow_neck_and_heads"]


def list_channel_sets(arch: ArchSpec) -> list[ChannelSet]:
    """Every prunable set of channels of neck and head, by torchvision's names of the layers."""
    width = arch.maps[0].width
    neck = arch.neck.channel_sets(arch.body_maps, arch.head.levels, arch.head.name_readers())
    return [*neck, *arch.head.channel_sets(width)]


def narrow_neck_and_heads(
    weights: Mapping[str, Tensor], child: ArchSpec, ranked_by: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """These weights with neck and heads as wide as `child`'s; what is as wide already is the same tensor as before.

    The greatest channels of each set stay, in their order. Where several layers write a set, each one's norms are
    divided by their mean before they are added, so that no pyramid level outweighs the others.

    Args:
        weights: a state dict with the child's body and the parent's neck and heads; it is left alone.
        ranked_by: tensors like these weights, or the weights themselves, whose norms decide.
    """
    narrowed = dict(weights)
    for channels in list_channel_sets(child):
        scores = _score_channels(ranked_by, channels.writers)
        if len(scores) == channels.width:
            continue
        kept = torch.tensor(kept_channels(scores.tolist(), channels.width), device=scores.device)
        for writer in channels.writers:
            narrowed |= take_outputs(narrowed, writer, kept)
        for reader in channels.readers:
            narrowed |= take_inputs(narrowed, reader, kept, len(scores))
    return narrowed


def _score_channels(weights: Mapping[str, Tensor], writers: tuple[OuterLayer, ...]) -> Tensor:
    """Importance of each channel (width,): 1 on average for each layer that writes it, unless that is all zeros."""
    norms = [_measure_filters(weights, writer) for writer in writers]
    return torch.stack([norm / norm.mean().clamp(min=torch.finfo(norm.dtype).tiny) for norm in norms]).sum(0)


def _measure_filters(weights: Mapping[str, Tensor], writer: OuterLayer) -> Tensor:
    """What each channel that a layer writes matters (width,)."""
    if writer.norm:
        return weights[f"{writer.norm}.weight"].detach().float().abs()
    filters = weights[f"{writer.name}.weight"].detach().float().abs().movedim(writer.writes, 0)
    return filters.flatten(1).sum(1)
