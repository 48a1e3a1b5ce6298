"""The training step of a super-network that shrinks."""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor, nn

from optimizer.arch.pool import ElasticSpace
from optimizer.detectors.base import Detector, Truth
from optimizer.distill.config import DistillConfig
from optimizer.distill.step import DistillStep
from optimizer.seeds import derive_seed
from optimizer.supernet.elastic import run_subnet

__all__ = ["ShrinkStep"]


class ShrinkStep(nn.Module):
    """One random sub-network a step, taught by the super-network as it was before it shrank (S0, A.1.3).

    The number of the step, which is part of the state, alone decides what is drawn: the same in every process of a
    training, and after a restart. The canvas is that of the batch, which the loader draws.

    Args:
        space: what is sampled from; its canvases play no part.
        supernet: the frozen teacher; it looks at the same canvas.
    """

    drawn: Tensor

    def __init__(self, space: ElasticSpace, supernet: Detector, config: DistillConfig, seed: int) -> None:
        super().__init__()
        self.space, self.seed = space, seed
        self.register_buffer("drawn", torch.zeros((), dtype=torch.int64))
        same_canvas = config.model_copy(update={"teacher_canvas": "student"})
        self.distillation = DistillStep(supernet.arch, supernet, same_canvas)

    def forward(self, model: Detector, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        number = int(self.drawn)
        self.drawn += 1
        subnet = self.space.sample(Random(derive_seed(self.seed, "subnet", number)))
        losses, regions, view = run_subnet(model, self.space.arch(subnet), images, truths)
        return {**losses, **self.distillation.compare(view, images, regions)}
