"""The training step of a super-network: one random subnet, taught or not."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from optimizer.arch.subnets import SubnetSpace
from optimizer.detectors.base import Truth
from optimizer.distill.step import DistillStep
from optimizer.seeds import derive_seed
from optimizer.supernet.base import Supernet

__all__ = ["SubnetStep"]


class SubnetStep(nn.Module):
    """One random subnet per step; only what it holds is trained.

    The number of the step, which is part of the state, alone decides what is drawn: the same in every process of a
    training, and after a restart. The canvas is that of the batch, which the loader draws.

    Args:
        sampled: what is drawn from; its canvases play no part.
        choose: the subnet of a step, by its number; None draws one at random.
        distillation: what a teacher adds to each subnet's losses; None is plain training (DetNAS).
    """

    drawn: Tensor

    def __init__(
        self,
        supernet: Supernet,
        sampled: SubnetSpace,
        seed: int,
        distillation: DistillStep | None = None,
        choose: Callable[[int], Any] | None = None,
    ) -> None:
        super().__init__()
        self.supernet, self.sampled, self.seed, self.distillation = supernet, sampled, seed, distillation
        self._choose = choose or self._draw
        # of one subnet alone there is nothing to draw, and no state
        self.register_buffer("drawn", torch.zeros((), dtype=torch.int64), persistent=sampled.count() > 1)

    def forward(self, model: nn.Module, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        assert model is self.supernet.shared, "the step of another super-network"
        number = int(self.drawn)
        self.drawn += 1
        subnet = self._choose(number)
        taught = self.distillation
        if taught is None:
            return self.supernet.ask(subnet, lambda detector: detector.losses(images, truths))
        return self.supernet.ask(subnet, lambda detector: taught(detector, images, truths))

    def _draw(self, number: int) -> Any:
        return self.sampled.sample(Random(derive_seed(self.seed, "subnet", number)))
