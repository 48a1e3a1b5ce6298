"""What one training step optimises. Distillation and supernet training are other steps round the same loop."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from optimizer.detectors.base import Truth


class LossStep(Protocol):
    """Named losses of one batch; the loop adds them up, and knows nothing else.

    ``parameters()`` of a step with adapters of its own (a distiller) are trained beside the model's; so a step may also
    be an `nn.Module`, and the loop saves its state with the checkpoint.
    """

    def __call__(self, model: nn.Module, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]: ...


@runtime_checkable
class Paced(Protocol):
    """A step whose losses change in the course of a training."""

    def set_progress(self, done: float) -> None:
        """Told before each batch: the share of the training that is done, from 0 to below 1."""
        ...


class DetectionStep:
    """Plain detection training: the detector's own losses."""

    def __call__(self, model: nn.Module, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        return model(images, truths)
