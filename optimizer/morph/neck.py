"""Neck and heads of a child that are narrower than its parent's: which channels stay, in every tensor that has them.

The paper prunes the backbone alone, so all of this is ours. No BatchNorm follows a layer outside the backbone, and a
channel counts as much as the L1 norm of the weights that write it: of its filter, or of its filters where several
layers share the channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from optimizer.arch import ArchSpec, FasterRCNNHead, kept_channels
from optimizer.morph.laterals import LATERALS
from optimizer.morph.layers import take_channels

__all__ = ["ChannelSet", "list_channel_sets", "narrow_neck_and_heads"]

FPN = "backbone.fpn"
RPN = "rpn.head"
BOX = "roi_heads"


@dataclass(frozen=True)
class ChannelSet:
    """Channels outside the backbone that have to be kept or dropped together.

    Attributes:
        width: how many there are.
        writers: layers that have them for outputs.
        readers: layers that have them for inputs. A linear layer on RoI features reads all cells of a channel, then all
            of the next.
    """

    width: int
    writers: tuple[str, ...]
    readers: tuple[str, ...]


def list_channel_sets(arch: ArchSpec) -> list[ChannelSet]:
    """Every prunable set of channels of neck and heads, by torchvision's names of the layers.

    A pyramid has two sets. The laterals' outputs are added from level to level, so they share one; all levels go
    through the same head, so what the pyramid puts out is the other, a RetinaNet's P6 and P7 included.
    """
    if not isinstance(arch.head, FasterRCNNHead):
        return _list_retinanet_sets(arch, arch.head.tower_depth)
    laterals, outputs = _name_pyramid(levels=4)
    rpn, fc6, fc7 = f"{RPN}.conv.0.0", f"{BOX}.box_head.fc6", f"{BOX}.box_head.fc7"
    predictors = (f"{BOX}.box_predictor.cls_score", f"{BOX}.box_predictor.bbox_pred")
    return [
        ChannelSet(arch.fpn_width, laterals, outputs),
        ChannelSet(arch.fpn_width, outputs, (rpn, fc6)),
        ChannelSet(arch.head.rpn_width, (rpn,), (f"{RPN}.cls_logits", f"{RPN}.bbox_pred")),
        ChannelSet(arch.head.box_width, (fc6,), (fc7,)),
        ChannelSet(arch.head.box_width, (fc7,), predictors),
    ]


def narrow_neck_and_heads(weights: Mapping[str, Tensor], child: ArchSpec) -> dict[str, Tensor]:
    """These weights with neck and heads as wide as `child`'s; what is as wide already is the same tensor as before.

    The greatest channels of each set stay, in their order. Where several layers write a set, each one's norms are
    divided by their mean before they are added, so that no pyramid level outweighs the others.

    Args:
        weights: a state dict with the child's backbone and the parent's neck and heads; it is left alone.
    """
    narrowed = dict(weights)
    for channels in list_channel_sets(child):
        scores = _score_channels(weights, channels.writers)
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


def _list_retinanet_sets(arch: ArchSpec, tower_depth: int) -> list[ChannelSet]:
    laterals, outputs = _name_pyramid(levels=3)
    extra = (f"{FPN}.extra_blocks.p6", f"{FPN}.extra_blocks.p7")  # each writes a level; P6 reads P5, P7 reads P6
    towers = [
        [*(f"head.{tower}.conv.{layer}.0" for layer in range(tower_depth)), f"head.{tower}.{last}"]
        for tower, last in (("classification_head", "cls_logits"), ("regression_head", "bbox_reg"))
    ]
    return [
        ChannelSet(arch.fpn_width, laterals, outputs),
        ChannelSet(arch.fpn_width, (*outputs, *extra), (*extra, *(tower[0] for tower in towers))),
        *(ChannelSet(arch.fpn_width, (writer,), (reader,)) for tower in towers for writer, reader in pairwise(tower)),
    ]


def _name_pyramid(levels: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The 1x1 laterals and the 3x3 output convolutions."""
    laterals = tuple(f"{LATERALS}.{level}.0" for level in range(levels))
    return laterals, tuple(f"{FPN}.layer_blocks.{level}.0" for level in range(levels))


def _score_channels(weights: Mapping[str, Tensor], writers: tuple[str, ...]) -> Tensor:
    """Importance of each channel (width,): 1 on average for each layer that writes it, unless that is all zeros."""
    norms = [weights[f"{writer}.weight"].detach().float().abs().flatten(1).sum(1) for writer in writers]
    return torch.stack([norm / norm.mean().clamp(min=torch.finfo(norm.dtype).tiny) for norm in norms]).sum(0)
