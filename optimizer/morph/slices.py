"""A child that is made of slices of its parent's weights while those are trained: what it learns, the parent learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import Tensor, nn
from torch.func import functional_call

from optimizer.arch import Edit
from optimizer.detectors import build_undrawn
from optimizer.detectors.base import Detector
from optimizer.morph.inherit import inherit

__all__ = ["ask_child", "ask_with"]

T = TypeVar("T")


def ask_child(detector: Detector, edit: Edit, question: Callable[[Detector], T]) -> T:
    """The answer of a detector's child with the weights it inherits; gradients reach the detector's own.

    Its BatchNorms are in training if the detector's are, but their statistics are thrown away with the child.
    """
    weights = inherit(detector.state_dict(keep_vars=True), edit)
    child = build_undrawn(edit.child, detector.num_classes, next(detector.parameters()).device)
    child.train(detector.training)
    if not any(norm.training for norm in _list_norms(detector)):
        for norm in _list_norms(child):
            norm.eval()
    return ask_with(child, weights, question)


def ask_with(detector: Detector, weights: Mapping[str, Tensor], question: Callable[[Detector], T]) -> T:
    """The answer of a detector with these weights in place of its own; gradients reach them."""
    replaced = {f"detector.{name}": tensor for name, tensor in weights.items()}
    answer: T = functional_call(_Caller(detector), replaced, (question,))
    return answer


def _list_norms(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]


class _Caller(nn.Module):
    """Lets `functional_call` reach more than `forward`."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, question: Callable[[Detector], T]) -> T:
        return question(self.detector)
