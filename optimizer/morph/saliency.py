"""How much the loss would change without a channel, to first order (Molchanov et al., CVPR 2019).

Each channel has a gate of 1 behind the layer that writes it. The loss' derivative by the gate is the sum of weight
times gradient over what the layer has for this channel, its bias included; the magnitude of it, on average over
batches, is what the channel matters. One gate serves all layers that write the same channel: those of a residual
stream, or of all levels of a pyramid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from optimizer.arch import ArchSpec
from optimizer.detectors.base import Detector, Truth
from optimizer.morph.layers import BODY, name_block
from optimizer.morph.neck import list_channel_sets

__all__ = ["measure_gates", "measure_saliency", "spread_gates"]

Gates = Mapping[str, Tensor]


def measure_saliency(
    detector: Detector, batches: Iterable[tuple[Tensor, list[Truth]]], seed: int = 0
) -> dict[str, Tensor]:
    """What `morph` ranks channels and blocks by in place of the weights: a tensor like each of the state dict's."""
    return spread_gates(measure_gates(detector, batches, seed), detector.state_dict())


def measure_gates(
    detector: Detector, batches: Iterable[tuple[Tensor, list[Truth]]], seed: int = 0
) -> dict[str, Tensor]:
    """What the channels of each layer with a bias matter (width,), by the layer's name; 1 on average over the body.

    The detector is left as it was, in evaluation mode; BatchNorm uses its running statistics, as in the network that is
    about to be edited.

    Args:
        batches: images (B, 3, H, W) and their truths, on the canvas of the detector.
        seed: of the regions that the loss samples.
    """
    layers = {
        name: module
        for name, module in detector.named_modules()
        if isinstance(getattr(module, "bias", None), nn.Parameter)
    }
    shared = list(_list_shared(detector.arch))
    device = next(detector.parameters()).device
    totals = {name: torch.zeros(len(_weight_of(layer)), device=device) for name, layer in layers.items()}
    frozen = [parameter for parameter in detector.parameters() if not parameter.requires_grad]
    detector.requires_grad_().train()
    for norm in detector.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eval()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for images, truths in batches:
            moved = [Truth(truth.boxes_xyxy.to(device), truth.labels.to(device)) for truth in truths]
            detector.zero_grad(set_to_none=True)
            torch.stack(list(detector.losses(images.to(device), moved).values())).sum().backward()
            gates = {name: _derive_gates(layer) for name, layer in layers.items()}
            gates |= {decider: sum(gates[name] for name in names) for decider, names in shared}  # type: ignore[misc]
            for name, gate in gates.items():
                totals[name] += gate.abs()
    detector.zero_grad(set_to_none=True)
    for parameter in frozen:
        parameter.requires_grad_(False)
    detector.eval()
    return _scale_body(totals)


def spread_gates(gates: Gates, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors like the weights: each filter's add up to what its channel matters, everything else is zero.

    Where these are edited as the weights are, so are the gates. A block matters as much as the channels behind its
    BatchNorms together.
    """
    spread = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    for layer, gate in gates.items():
        weight = spread[f"{layer}.weight"]
        per_row = gate.to(weight) * (len(weight) / weight.numel())
        spread[f"{layer}.weight"] = per_row.view(-1, *[1] * (weight.ndim - 1)).expand_as(weight).contiguous()
    return spread


def _weight_of(layer: nn.Module) -> nn.Parameter:
    assert isinstance(layer.weight, nn.Parameter)
    return layer.weight


def _derive_gates(layer: nn.Module) -> Tensor:
    """Weight times gradient, summed over each output channel (width,); zeros where the loss does not depend on it."""
    sums = torch.zeros(len(_weight_of(layer)), device=_weight_of(layer).device)
    for parameter in layer.parameters(recurse=False):
        if parameter.grad is not None:
            sums += (parameter.detach() * parameter.grad).reshape(len(sums), -1).sum(1)
    return sums


def _list_shared(arch: ArchSpec) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Layers that `morph` reads a channel's importance off, and all layers that write this very channel."""
    norms: dict[tuple[int, int, int], list[str]] = {}
    width = arch.body.stem_width
    for stage, index, block in arch.body.blocks():
        for layer in block.list_layers(width):
            name = f"{name_block(arch.body, (stage, index))}.{layer.norm}"
            norms.setdefault((stage, index, layer.writes), []).append(name)
        width = block.out_width
    for group in arch.body.channel_groups():
        if len(group.names) == 1:  # of several the mean decides, each having a gate of its own
            decider = f"{BODY}.{arch.body.name_norm(group.names[0])}"
            yield decider, tuple(name for site in group.sites for name in norms[site])
    for channels in list_channel_sets(arch):
        deciders = tuple(writer.norm or writer.name for writer in channels.writers)
        yield from ((decider, deciders) for decider in deciders)


def _scale_body(gates: Gates) -> dict[str, Tensor]:
    """Gates of 1 on average over the body, as the BatchNorm scales of a new block are: it matters like any other."""
    of_body = [gate for name, gate in gates.items() if name.startswith(f"{BODY}.")]
    mean = torch.cat(of_body).mean().clamp(min=torch.finfo(torch.float32).tiny)
    return {name: gate / mean for name, gate in gates.items()}
