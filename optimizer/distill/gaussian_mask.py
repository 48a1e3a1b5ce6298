"""The cells of objects are the teacher's, those in their middle most of all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from optimizer.distill.base import MapDistiller, Scene
from optimizer.distill.masks import draw_gaussians

__all__ = ["GaussianMask"]


class GaussianMask(MapDistiller):
    """Half the squared difference, weighed by a Gaussian in each object, mean by weight and over levels (Sun 2020)."""

    def forward(self, errors: Sequence[Tensor], scene: Scene) -> Tensor:
        maps = draw_gaussians(scene.truths, [(error.shape[1], error.shape[2]) for error in errors], scene.strides)
        terms = [
            (error * map_).sum() / (2 * map_.sum()).clamp(min=torch.finfo(map_.dtype).tiny)
            for error, map_ in zip(errors, maps)
        ]
        return torch.stack(terms).mean()
