"""Sub-networks of a super-network: the first channels of each layer and the first blocks of each stage.

A slice is a view: what is learned through it, the super-network has learned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from optimizer.arch.channels import group_channels
from optimizer.arch.spec import ArchSpec, FasterRCNNHead
from optimizer.detectors.base import Detector, RegionView, Truth
from optimizer.detectors.resnet import ResNetBody
from optimizer.morph.importance import measure_channels
from optimizer.morph.layers import BODY, list_layers, name_block, take_channels, take_layer

__all__ = ["rank_channels", "run_subnet", "slice_weights"]

LATERALS = "backbone.fpn.inner_blocks"


def slice_weights(weights: Mapping[str, Tensor], arch: ArchSpec) -> dict[str, Tensor]:
    """The state dict of a sub-network, as views of the super-network's.

    Args:
        weights: state dict (or parameters and buffers) of the super-network.
        arch: of a sub-network: no deeper, no wider, with the same stem, neck and head.
    """
    sliced = {name: tensor for name, tensor in weights.items() if not name.startswith((f"{BODY}.layer", LATERALS))}
    for name, shape in _list_shapes(arch):
        tensor = weights[name]
        sliced[name] = tensor[tuple(slice(size) for size in shape)] if shape else tensor
    for name, tensor in weights.items():
        if name.startswith(LATERALS) and name.endswith(".bias"):
            sliced[name] = tensor
    return sliced


def rank_channels(detector: Detector) -> None:
    """Sort the super-network's channels in place, the most important first, without changing what it computes.

    Importance is the magnitude of the BatchNorm scale that decides over a group of channels, as in pruning. That
    sub-networks take the first channels after sorting is a reconstruction, after once-for-all networks.
    """
    arch, weights = detector.arch, detector.state_dict()
    order = _order_channels(arch, measure_channels(weights, arch))
    ranked = dict(weights)
    first_map = 0 if isinstance(arch.head, FasterRCNNHead) else 1
    width, stream = arch.stem_width, None
    for stage, index, block in arch.blocks():
        name = name_block((stage, index))
        rows = [order.get((stage, index, conv)) for conv in range(len(block.widths))]
        columns = [stream, *rows[:-1], stream]
        for layer, outputs, inputs in zip(list_layers(block, width), [*rows, rows[-1]], columns):
            tensors = take_layer(weights, name, layer, outputs, inputs)
            ranked |= {f"{name}.{key}": tensor for key, tensor in tensors.items()}
        width, stream = block.out_width, rows[-1]
        lateral = f"{LATERALS}.{stage - first_map}.0.weight"
        if index == arch.depths[stage] - 1 and lateral in weights:
            ranked[lateral] = take_channels(weights[lateral], columns=stream)
    detector.load_state_dict(ranked)


def run_subnet(
    detector: Detector, arch: ArchSpec, images: Tensor, truths: list[Truth]
) -> tuple[dict[str, Tensor], list[Tensor], RegionView]:
    """Losses, regions and view of a sub-network on a batch; gradients and statistics reach the super-network."""
    caller = _Caller(detector)
    own = {**dict(detector.named_parameters()), **dict(detector.named_buffers())}
    sliced = {f"detector.{name}": tensor for name, tensor in slice_weights(own, arch).items()}
    body = detector.get_submodule(BODY)
    assert isinstance(body, ResNetBody)
    with body.shortened(arch.depths):
        result: tuple[dict[str, Tensor], list[Tensor], RegionView] = functional_call(caller, sliced, (images, truths))
    return result


class _Caller(nn.Module):
    """Lets `functional_call` reach more than `forward`."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor, truths: list[Truth]) -> tuple[dict[str, Tensor], list[Tensor], RegionView]:
        losses, regions, view = self.detector.losses_and_regions(images, truths, with_view=True)
        assert view is not None
        return losses, regions, view


def _list_shapes(arch: ArchSpec) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor of a sub-network's stages, and of the laterals that read them."""
    first_map = 0 if isinstance(arch.head, FasterRCNNHead) else 1
    width = arch.stem_width
    for stage, index, block in arch.blocks():
        name = name_block((stage, index))
        for layer in list_layers(block, width):
            yield f"{name}.{layer.conv}.weight", layer.shape
            for vector in ("weight", "bias", "running_mean", "running_var"):
                yield f"{name}.{layer.norm}.{vector}", layer.shape[:1]
            yield f"{name}.{layer.norm}.num_batches_tracked", ()
        width = block.out_width
        if index == arch.depths[stage] - 1 and stage >= first_map:
            yield f"{LATERALS}.{stage - first_map}.0.weight", (arch.fpn_width, width, 1, 1)


def _order_channels(arch: ArchSpec, scores: Mapping[str, tuple[float, ...]]) -> dict[tuple[int, int, int], Tensor]:
    """For each prunable convolution the order of its output channels, the most important first."""
    order: dict[tuple[int, int, int], Tensor] = {}
    for group in group_channels(arch):
        ranked = group.score_channels(scores)
        indices = torch.tensor(sorted(range(len(ranked)), key=lambda channel: -ranked[channel]))
        order |= dict.fromkeys(group.sites, indices)
    return order
