"""Weights of a child architecture from those of its parent: a pure function, no live module is cut.

A block takes the tensors of its source, narrowed to the channels that stay. What the parent does not have (a new block,
the projection of a block that came to head a stage, layers that only the one of two exchanged blocks has) begins so
that it changes the function least.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from optimizer.arch import Edit, kept_channels
from optimizer.arch.bodies import Block, Layer, Position
from optimizer.arch.channels import Site
from optimizer.morph.importance import measure_channels
from optimizer.morph.laterals import inherit_lateral, name_laterals
from optimizer.morph.layers import BODY, Channels, make_layer, name_block, take_channels, take_layer
from optimizer.morph.neck import list_channel_sets, narrow_neck_and_heads

__all__ = ["inherit"]

Weights = Mapping[str, Tensor]


def inherit(weights: Weights, edit: Edit, ranked_by: Weights | None = None) -> dict[str, Tensor]:
    """The child's state dict; it shares no memory with the parent's, which is left alone.

    Of a narrowed convolution the channels with the greatest BatchNorm scale stay, and everything that reads it follows;
    the body says which are decided together. A new block is an exact identity, because its last BatchNorm has
    scale 0. A new projection passes channels on with scale 1 (a reconstruction, and the closest to an identity). Neck
    and heads follow last, by `narrow_neck_and_heads`.

    Args:
        weights: the parent's state dict, with torchvision's names; gradients flow through to it.
        ranked_by: what channels are chosen by, a tensor like each of the weights; None is the weights themselves.
    """
    _assert_only_narrower_outside_body(edit)
    kept = _choose_channels(weights if ranked_by is None else ranked_by, edit)
    child = _inherit_body(weights, edit, kept)
    ranks = child if ranked_by is None or ranked_by is weights else _inherit_body(ranked_by, edit, kept)
    return narrow_neck_and_heads(child, edit.child, ranks)


def _inherit_body(weights: Weights, edit: Edit, kept: Mapping[Site, Tensor]) -> dict[str, Tensor]:
    """Body and laterals of the child; neck and heads as they were."""
    parent, body = edit.parent.body, edit.child.body
    remade = tuple(f"{name_block(parent, (stage, index))}." for stage, index, _ in parent.blocks())
    remade += tuple(f"{lateral.name}." for layers in name_laterals(edit.parent).values() for lateral in layers)
    child = {name: take_channels(tensor) for name, tensor in weights.items() if not name.startswith(remade)}
    like = next(tensor for name, tensor in weights.items() if name.startswith(BODY) and tensor.is_floating_point())
    known, wanted = parent.layers(), body.layers()
    stream: Channels = None
    tap: Position | None = None  # the parent's block whose output the last of the child's puts out
    for stage, sources in enumerate(edit.sources):
        for index, source in enumerate(sources):
            block, name = body.stages[stage].blocks[index], name_block(body, (stage, index))
            layers = wanted[stage, index]
            if source is None:
                assert not block.starts_stream, f"{name} is new and cannot start a residual stream"
                tensors = _make_block(layers, like)
            else:
                rows = [kept.get((*source, conv)) for conv in range(len(block.widths))]
                before = parent.stages[source[0]].blocks[source[1]]
                origins = _find_origins(block, layers, before, known[source])
                tensors = _inherit_block(weights, name_block(parent, source), origins, rows, stream, like)
                stream, tap = rows[-1], source
            child |= {f"{name}.{key}": tensor for key, tensor in tensors.items()}
        assert tap is not None, "a child starts with a block of its parent's"
        child |= inherit_lateral(weights, edit.parent, stage, tap, stream)
    return child


def _assert_only_narrower_outside_body(edit: Edit) -> None:
    """No rule says how weights would follow another change of the stem, the neck or the heads; no action makes one."""
    before, after = list_channel_sets(edit.parent), list_channel_sets(edit.child)
    same_layers = [(item.writers, item.readers) for item in before] == [(item.writers, item.readers) for item in after]
    narrower = same_layers and all(new.width <= old.width for old, new in zip(before, after))
    assert narrower and edit.parent.body.stem_width == edit.child.body.stem_width, (
        "weights are inherited under the same stem, and neck and heads no wider: "
        f"{edit.parent.neck} and {edit.parent.head} became {edit.child.neck} and {edit.child.head}"
    )


def _choose_channels(ranks: Weights, edit: Edit) -> dict[Site, Tensor]:
    """Output channels that stay, for every convolution of the parent that the child narrows."""
    places = {source: place for place, source in _list_sources(edit)}
    scores = measure_channels(ranks, edit.parent)
    device = next(iter(ranks.values())).device
    kept: dict[Site, Tensor] = {}
    for group in edit.parent.body.channel_groups():
        survivors = [(*places[stage, index], conv) for stage, index, conv in group.sites if (stage, index) in places]
        widths = {edit.child.body.stages[stage].blocks[index].widths[conv] for stage, index, conv in survivors}
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


def _find_origins(
    block: Block, layers: list[Layer], source: Block, known: list[Layer]
) -> list[tuple[Layer, Layer | None]]:
    """Each layer of a block, and the one of its source whose weights it takes over; None where there is none."""
    by_name: dict[str | None, Layer] = {layer.conv: layer for layer in known}
    return [(layer, by_name.get(block.name_origin(layer, source))) for layer in layers]


def _inherit_block(
    weights: Weights,
    source: str,
    origins: list[tuple[Layer, Layer | None]],
    rows: list[Channels],
    stream: Channels,
    like: Tensor,
) -> dict[str, Tensor]:
    """The block `source` with the outputs `rows` of its widths, reading `stream` of the block before it."""
    tensors: dict[str, Tensor] = {}
    for layer, origin in origins:
        if origin is not None:
            columns = stream if layer.reads is None else rows[layer.reads]
            tensors |= take_layer(weights, source, layer, rows[layer.writes], columns, origin)
        else:
            tensors |= make_layer(layer, scale=1.0, like=like)
    return tensors


def _make_block(layers: list[Layer], like: Tensor) -> dict[str, Tensor]:
    """A block that adds nothing to its shortcut."""
    tensors: dict[str, Tensor] = {}
    for layer in layers:
        tensors |= make_layer(layer, scale=0.0 if layer is layers[-1] else 1.0, like=like)
    return tensors
