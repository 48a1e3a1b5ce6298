"""All cells of the neck are the teacher's, each as much as any other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from optimizer.distill.base import MapDistiller, Scene

__all__ = ["WholeFeature"]


class WholeFeature(MapDistiller):
    """Half the mean squared difference, mean over the levels ("hint", Chen 2017; FACTS 6).

    The half is that of DeFeat's "all regions", whose formula this is with a mask of ones; a reconstruction.
    """

    def forward(self, errors: Sequence[Tensor], scene: Scene) -> Tensor:
        return torch.stack([error.mean() for error in errors]).mean() / 2
