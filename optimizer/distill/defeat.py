"""DeFeat: objects and background teach separately, in the neck, in the body, and in the classes of proposals.

Formulas and what is reconstruction: FACTS 5. Two faults of the published code are not repeated: whether a proposal is
positive is said by the teacher's own matching, and objects and background have temperatures of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from optimizer.distill.base import MapDistiller, Reads, SampleDistiller, Scene
from optimizer.distill.divergence import find_divergence
from optimizer.distill.masks import draw_boxes, draw_levels, gather

__all__ = ["DecoupledBody", "DecoupledClasses", "DecoupledNeck"]

BODY_STRIDE = 4  # of the mask that the body's stages take theirs from


class DecoupledNeck(MapDistiller):
    """Half the mean squared difference in object cells and, apart, in background cells, mean over the levels.

    Args:
        alpha_object, alpha_background: what they weigh. Equal weights by count make it the whole-feature loss.
    """

    def __init__(self, alpha_object: float, alpha_background: float) -> None:
        super().__init__()
        self.alphas = alpha_object, alpha_background

    def forward(self, errors: Sequence[Tensor], scene: Scene) -> Tensor:
        masks = draw_levels(scene.truths, [(error.shape[1], error.shape[2]) for error in errors], scene.strides)
        return _decouple(errors, masks, self.alphas)


class DecoupledBody(MapDistiller):
    """The same in stages of the body; the mask is the union of all objects, whatever their size."""

    reads: ClassVar[Reads] = "body"

    def __init__(self, alpha_object: float, alpha_background: float) -> None:
        super().__init__()
        self.alphas = alpha_object, alpha_background

    def forward(self, errors: Sequence[Tensor], scene: Scene) -> Tensor:
        width, height = scene.canvas
        boxes, images = gather(scene.truths)
        shape = -(-height // BODY_STRIDE), -(-width // BODY_STRIDE)
        union = draw_boxes(boxes, images, len(scene.truths), shape, BODY_STRIDE)[:, None]
        masks = [functional.interpolate(union, error.shape[1:], mode="nearest")[:, 0] for error in errors]
        return _decouple(errors, masks, self.alphas)


class DecoupledClasses(SampleDistiller):
    """Divergence of the classes of the teacher's proposals: mean over the positive ones and, apart, over the others.

    Args:
        weights: of positive and negative proposals. temperatures: of both.
    """

    def __init__(self, weights: tuple[float, float], temperatures: tuple[float, float]) -> None:
        super().__init__()
        self.weights, self.temperatures = weights, temperatures

    def forward(self, student: Tensor, teacher: Tensor, positive: Tensor) -> Tensor:
        total = student.sum() * 0.0
        for half, weight, temperature in zip((positive, ~positive), self.weights, self.temperatures):
            divergence = find_divergence(student, teacher, temperature) * half
            total = total + weight * temperature**2 * divergence.sum() / half.sum().clamp(min=1)
        return total


def _decouple(errors: Sequence[Tensor], masks: Sequence[Tensor], alphas: tuple[float, float]) -> Tensor:
    """Of each map, half the mean over object cells and over the others, weighed; mean over the maps."""
    terms = []
    for error, mask in zip(errors, masks, strict=True):
        for alpha, cells in zip(alphas, (mask, 1 - mask)):
            terms.append(alpha * (error * cells).sum() / (2 * cells.sum()).clamp(min=1))
    return torch.stack(terms).sum() / len(errors)
