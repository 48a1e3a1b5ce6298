"""Neck and heads of a child that are narrower than its parent's: which channels stay, in every tensor that has them.

The paper prunes the backbone alone, so all of this is ours. No BatchNorm follows a layer outside the backbone, and a
channel counts as much as the L1 norm of the weights that write it: of its filter, or of its filters where several
layers share the channel.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from optimizer.arch import ArchSpec, kept_channels
from optimizer.arch.channels import ChannelSet
from optimizer.morph.layers import take_channels

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
            for name in (f"{writer}.weight", f"{writer}.bias"):
                narrowed[name] = take_channels(narrowed[name], rows=kept)
        for reader in channels.readers:
            weight = narrowed[f"{reader}.weight"]
            cells = torch.arange(weight.shape[1] // len(scores), device=kept.device)
            columns = (kept[:, None] * len(cells) + cells).flatten()
            narrowed[f"{reader}.weight"] = take_channels(weight, columns=columns)
    return narrowed


def _score_channels(weights: Mapping[str, Tensor], writers: tuple[str, ...]) -> Tensor:
    """Importance of each channel (width,): 1 on average for each layer that writes it, unless that is all zeros."""
    norms = [weights[f"{writer}.weight"].detach().float().abs().flatten(1).sum(1) for writer in writers]
    return torch.stack([norm / norm.mean().clamp(min=torch.finfo(norm.dtype).tiny) for norm in norms]).sum(0)
