"""Sliced super-networks: a subnet is the first channels of each layer and the first blocks of each stage.

A slice is a view: what is learned through it, the super-network has learned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from optimizer.arch.pool import ElasticSpace
from optimizer.arch.spec import ArchSpec
from optimizer.arch.subnets import SubnetSpace
from optimizer.detectors import build_detector
from optimizer.detectors.base import Detector
from optimizer.morph.importance import measure_channels
from optimizer.morph.laterals import name_laterals
from optimizer.morph.layers import BODY, name_block, take_inputs, take_layer
from optimizer.morph.slices import ask_with
from optimizer.supernet.base import Supernet

__all__ = ["ElasticSupernet", "SlicedSupernet", "ask_slice", "rank_channels", "slice_weights"]

T = TypeVar("T")


class SlicedSupernet(Supernet):
    """A super-network whose subnets are slices of the largest, which is `shared`; what they have of the stem is all.

    Args:
        seed: its first weights depend on that alone.
    """

    shared: Detector

    def __init__(self, space: SubnetSpace, num_classes: int, seed: int) -> None:
        super().__init__(space, build_detector(space.arch(space.largest()), num_classes, seed=seed))

    def ask(self, subnet: Any, question: Callable[[Detector], T]) -> T:
        arch = self.space.arch(subnet)
        return question(self.shared) if arch.body == self.shared.arch.body else ask_slice(self.shared, arch, question)

    def extract(self, subnet: Any) -> Detector:
        arch = self.space.arch(subnet)
        detector = build_detector(arch, self.shared.num_classes)
        detector.load_state_dict(slice_weights(self.shared.state_dict(), arch))
        return detector


class ElasticSupernet(SlicedSupernet):
    """The super-network of an elastic pool."""

    space: ElasticSpace

    def begin_phase(self, number: int) -> None:
        """Rank the channels once, before subnets are sliced for the first time."""
        if number == 1:
            rank_channels(self.shared)


def slice_weights(weights: Mapping[str, Tensor], arch: ArchSpec) -> dict[str, Tensor]:
    """The state dict of a subnet, as views of the super-network's.

    Args:
        weights: state dict (or parameters and buffers) of the super-network.
        arch: of a subnet: no deeper, no wider, with the same stem, neck and head.
    """
    sliced = {name: tensor for name, tensor in weights.items() if not name.startswith(f"{BODY}.layer")}
    for name, shape in _list_shapes(arch):
        sliced[name] = weights[name][tuple(slice(size) for size in shape)] if shape else weights[name]
    for stage, laterals in name_laterals(arch).items():
        for lateral in laterals:
            name = f"{lateral.name}.weight"
            sliced[name] = weights[name].narrow(lateral.reads, 0, arch.body_maps[stage].width)
    return sliced


def rank_channels(detector: Detector) -> None:
    """Sort the super-network's channels in place, the most important first, without changing what it computes.

    Importance is the magnitude of the BatchNorm scale that decides over a group of channels, as in pruning. That
    subnets take the first channels after sorting is a reconstruction, after once-for-all networks.
    """
    arch, weights = detector.arch, detector.state_dict()
    order = _order_channels(arch, measure_channels(weights, arch))
    ranked = dict(weights)
    laterals = name_laterals(arch)
    width, stream = arch.body.stem_width, None
    for stage, index, block in arch.body.blocks():
        name = name_block(arch.body, (stage, index))
        rows = [order.get((stage, index, conv)) for conv in range(len(block.widths))]
        for layer in block.list_layers(width):
            columns = stream if layer.reads is None else rows[layer.reads]
            tensors = take_layer(weights, name, layer, rows[layer.writes], columns)
            ranked |= {f"{name}.{key}": tensor for key, tensor in tensors.items()}
        width, stream = block.out_width, rows[-1]
        if index == arch.body.depths[stage] - 1 and stream is not None:
            for lateral in laterals.get(stage, ()):
                ranked |= take_inputs(weights, lateral, stream, width)
    detector.load_state_dict(ranked)


def ask_slice(detector: Detector, arch: ArchSpec, question: Callable[[Detector], T]) -> T:
    """The answer of a detector as a slice of itself; gradients and statistics reach the whole."""
    own = {**dict(detector.named_parameters()), **dict(detector.named_buffers())}
    body: Any = detector.get_submodule(BODY)  # of a sliceable body
    with body.shortened(arch.body.depths):
        return ask_with(detector, slice_weights(own, arch), question)


def _list_shapes(arch: ArchSpec) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor of a subnet's stages."""
    width = arch.body.stem_width
    for stage, index, block in arch.body.blocks():
        name = name_block(arch.body, (stage, index))
        for layer in block.list_layers(width):
            yield f"{name}.{layer.conv}.weight", layer.shape
            for vector in ("weight", "bias", "running_mean", "running_var"):
                yield f"{name}.{layer.norm}.{vector}", layer.shape[:1]
            yield f"{name}.{layer.norm}.num_batches_tracked", ()
        width = block.out_width


def _order_channels(arch: ArchSpec, scores: Mapping[str, tuple[float, ...]]) -> dict[tuple[int, int, int], Tensor]:
    """For each prunable convolution the order of its output channels, the most important first."""
    order: dict[tuple[int, int, int], Tensor] = {}
    for group in arch.body.channel_groups():
        ranked = group.score_channels(scores)
        indices = torch.tensor(sorted(range(len(ranked)), key=lambda channel: -ranked[channel]))
        order |= dict.fromkeys(group.sites, indices)
    return order
