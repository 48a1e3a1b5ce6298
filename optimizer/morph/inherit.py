"""Weights of a child architecture from those of its parent: a pure function, no live module is cut.

A block takes the tensors of its source, narrowed to the channels that stay. What the parent does not have (a new block,
the projection of a block that came to head a stage) begins so that it changes the function least.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from optimizer.arch import ArchSpec, Edit, FasterRCNNHead, group_channels, kept_channels
from optimizer.arch.actions import Position
from optimizer.morph.importance import measure_channels
from optimizer.morph.laterals import LATERALS, inherit_lateral
from optimizer.morph.layers import BODY, Channels, Layer, list_layers, make_layer, name_block, take_channels, take_layer
from optimizer.morph.neck import narrow_neck_and_heads

__all__ = ["inherit"]

Weights = Mapping[str, Tensor]
Site = tuple[int, int, int]  # (stage, block, convolution), each from 0


def inherit(weights: Weights, edit: Edit) -> dict[str, Tensor]:
    """The child's state dict; it shares no memory with the parent's, which is left alone.

    Of a narrowed convolution the channels with the greatest BatchNorm scale stay, and everything that reads it follows;
    `group_channels` says which are decided together. A new block is an exact identity, because its last BatchNorm has
    scale 0. A new projection passes channels on with scale 1 (a reconstruction, and the closest to an identity). Neck
    and heads follow last, by `narrow_neck_and_heads`.

    Args:
        weights: the parent's state dict, with torchvision's names.
    """
    _assert_only_narrower_outside_backbone(edit)
    kept = _choose_channels(weights, edit)
    remade = (f"{BODY}.layer", f"{LATERALS}.")
    child = {name: take_channels(tensor) for name, tensor in weights.items() if not name.startswith(remade)}
    width = edit.child.stem_width
    stream: Channels = None
    tap: Position | None = None  # the parent's block whose output the last of the child's puts out
    for stage, sources in enumerate(edit.sources):
        for index, source in enumerate(sources):
            block, name = edit.child.stages[stage].blocks[index], name_block((stage, index))
            layers = list_layers(block, width)
            if source is None:
                assert not block.projection, f"{name} is new and cannot start a residual stream"
                tensors = _make_block(layers, like=weights[f"{BODY}.conv1.weight"])
            else:
                rows = [kept.get((*source, conv)) for conv in range(len(block.widths))]
                tensors = _inherit_block(weights, name_block(source), layers, rows, stream)
                stream, tap = rows[-1], source
            child |= {f"{name}.{key}": tensor for key, tensor in tensors.items()}
            width = block.out_width
        assert tap is not None, "a child starts with a block of its parent's"
        child |= inherit_lateral(weights, edit.parent, stage, tap, stream)
    return narrow_neck_and_heads(child, edit.child)


def _assert_only_narrower_outside_backbone(edit: Edit) -> None:
    """No rule says how weights would follow another change of the stem, the neck or the heads; no action makes one."""
    (kind, widths), (child_kind, child_widths) = _describe_outside(edit.parent), _describe_outside(edit.child)
    narrower = kind == child_kind and all(after <= before for before, after in zip(widths, child_widths))
    before, after = (*kind, *widths), (*child_kind, *child_widths)
    assert narrower, f"weights are inherited under the same stem, and neck and heads no wider: {before} became {after}"


def _describe_outside(arch: ArchSpec) -> tuple[tuple[int | str, ...], tuple[int, ...]]:
    """What stays as it is outside the backbone, and the widths that may shrink."""
    head = arch.head
    if isinstance(head, FasterRCNNHead):
        return (arch.stem_width, head.kind), (arch.fpn_width, head.rpn_width, head.box_width)
    return (arch.stem_width, head.kind, head.tower_depth), (arch.fpn_width,)


def _choose_channels(weights: Weights, edit: Edit) -> dict[Site, Tensor]:
    """Output channels that stay, for every convolution of the parent that the child narrows."""
    places = {source: place for place, source in _list_sources(edit)}
    scores = measure_channels(weights, edit.parent)
    device = weights[f"{BODY}.conv1.weight"].device
    kept: dict[Site, Tensor] = {}
    for group in group_channels(edit.parent):
        survivors = [(*places[stage, index], conv) for stage, index, conv in group.sites if (stage, index) in places]
        widths = {edit.child.stages[stage].blocks[index].widths[conv] for stage, index, conv in survivors}
        assert len(widths) <= 1, f"{group.names} have to stay equally wide, but became {sorted(widths)}"
        if widths and widths != {group.width}:
            channels = kept_channels(group.score_channels(scores), widths.pop(), group.group_width)
            kept |= dict.fromkeys(group.sites, torch.tensor(channels, device=device))
    return kept


def _list_sources(edit: Edit) -> Iterator[tuple[Position, Position]]:
    """(position in the child, position in the parent) of every block that is not new."""
    for stage, sources in enumerate(edit.sources):
        for index, source in enumerate(sources):
            if source is not None:
                yield (stage, index), source


def _inherit_block(
    weights: Weights, source: str, layers: list[Layer], rows: list[Channels], stream: Channels
) -> dict[str, Tensor]:
    """The block `source` with the outputs `rows` of its convolutions, reading `stream` of the block before it."""
    columns = [stream, *rows[:-1], stream]
    tensors: dict[str, Tensor] = {}
    for layer, outputs, inputs in zip(layers, [*rows, rows[-1]], columns):
        if layer.conv == "downsample.0" and f"{source}.downsample.0.weight" not in weights:
            tensors |= make_layer(layer, scale=1.0, like=weights[f"{source}.conv1.weight"])
        else:
            tensors |= take_layer(weights, source, layer, outputs, inputs)
    return tensors


def _make_block(layers: list[Layer], like: Tensor) -> dict[str, Tensor]:
    """A block that adds nothing to its shortcut."""
    tensors: dict[str, Tensor] = {}
    for layer in layers:
        tensors |= make_layer(layer, scale=0.0 if layer is layers[-1] else 1.0, like=like)
    return tensors
