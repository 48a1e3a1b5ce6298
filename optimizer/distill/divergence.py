"""How far one set of class distributions is from another."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["find_divergence"]


def find_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of the student's distributions from the teacher's, of each region (R,).

    Both, log-probabilities (R, G, K), are softened by the temperature; a region's G distributions are added up.
    """
    ours = functional.log_softmax(student / temperature, -1)
    theirs = functional.log_softmax(teacher / temperature, -1)
    return functional.kl_div(ours, theirs, reduction="none", log_target=True).sum((1, 2))
