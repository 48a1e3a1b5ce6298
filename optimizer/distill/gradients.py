"""Where in an image a teacher pulls at its student's neck."""

from __future__ import annotations

import torch
from torch import Tensor

from optimizer.detectors.base import Detector, Truth
from optimizer.distill.step import DistillStep

__all__ = ["map_gradients"]


def map_gradients(step: DistillStep, student: Detector, images: Tensor, truths: list[Truth]) -> list[Tensor]:
    """The gradient of all that the distillers add, by the cells of the neck (DeFeat's supplement; FACTS 5.6).

    Returns of each level its norm over the channels (B, h, w), the finest first; 0 where no distiller looks. The
    student is in evaluation mode, and no weight or gradient of it is changed.
    """
    maps: list[Tensor] = []

    def keep(module: torch.nn.Module, inputs: object, outputs: dict[str, Tensor]) -> None:
        maps.extend(outputs.values())

    handle = student.eval().backbone.register_forward_hook(keep)
    try:
        losses = step(student, images, truths)
    finally:
        handle.remove()
    added = torch.stack([loss for name, loss in losses.items() if name.startswith("distill_")]).sum()
    gradients = torch.autograd.grad(added, maps, allow_unused=True)
    return [
        torch.zeros_like(map_[:, 0]) if gradient is None else gradient.float().norm(dim=1)
        for map_, gradient in zip(maps, gradients, strict=True)
    ]
