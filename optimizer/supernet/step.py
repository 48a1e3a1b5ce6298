"""Training steps of a super-network: alone, then sub-network by sub-network."""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor, nn

from optimizer.arch.pool import PoolSpace
from optimizer.detectors.base import Detector, Truth
from optimizer.distill.config import DistillConfig
from optimizer.distill.step import DistillStep, show_canvas
from optimizer.seeds import derive_seed
from optimizer.supernet.elastic import run_subnet

__all__ = ["ShrinkStep", "SupernetStep"]


class _ElasticStep(nn.Module):
    """What both steps share: the number of the step, which alone decides what is drawn, and the dynamic canvas."""

    drawn: Tensor

    def __init__(self, space: PoolSpace, seed: int) -> None:
        super().__init__()
        self.space, self.seed = space, seed
        self.register_buffer("drawn", torch.zeros((), dtype=torch.int64))

    def draw(self) -> Random:
        """A generator for this step: the same in every process of a training, and after a restart."""
        number = int(self.drawn)
        self.drawn += 1
        return Random(derive_seed(self.seed, "subnet", number))


class SupernetStep(_ElasticStep):
    """The super-network alone, on a canvas drawn for each step."""

    def forward(self, model: Detector, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        return model.losses(*_resize_batch(images, truths, self.draw().choice(self.space.sizes)))


class ShrinkStep(_ElasticStep):
    """One random sub-network a step, taught by the super-network as the phase before left it (S0, A.1.3).

    Args:
        space: what is sampled from.
        supernet: the frozen teacher.
    """

    def __init__(self, space: PoolSpace, supernet: Detector, config: DistillConfig, seed: int) -> None:
        super().__init__(space, seed)
        self.distillation = DistillStep(supernet.arch, supernet, config.model_copy(update={"teacher_canvas": "own"}))

    def forward(self, model: Detector, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        subnet = self.space.sample(self.draw())
        images, truths = _resize_batch(images, truths, subnet.size)
        losses, regions, view = run_subnet(model, self.space.arch(subnet), images, truths)
        self.distillation.canvas = subnet.size
        return {**losses, **self.distillation.compare(view, images, regions)}


def _resize_batch(images: Tensor, truths: list[Truth], canvas: tuple[int, int]) -> tuple[Tensor, list[Truth]]:
    """A batch on another canvas (width, height), boxes included."""
    if (images.shape[-1], images.shape[-2]) == canvas:
        return images, truths
    scale = images.new_tensor([canvas[0] / images.shape[-1], canvas[1] / images.shape[-2]] * 2)
    return show_canvas(images, canvas), [truth._replace(boxes_xyxy=truth.boxes_xyxy * scale) for truth in truths]
