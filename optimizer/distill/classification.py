"""The student's class distributions are the teacher's."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from optimizer.detectors.base import RegionView
from optimizer.distill.base import Distiller

__all__ = ["Classification"]


class Classification(Distiller):
    """Kullback-Leibler divergence of the student's class distributions from the teacher's, mean over regions.

    Joint-DetNAS (supplement, A.2): RCNN classification of all sampled region proposals. The temperature is not stated;
    1 is a reconstruction (FACTS 1.6). With a temperature T both are softened and the term is multiplied by T squared.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, student: RegionView, teacher: RegionView) -> Tensor:
        if len(student.log_probs) == 0:
            return student.log_probs.sum() * 0.0
        ours = functional.log_softmax(student.log_probs / self.temperature, -1)
        theirs = functional.log_softmax(teacher.log_probs / self.temperature, -1)
        divergence = functional.kl_div(ours, theirs, reduction="none", log_target=True)
        return divergence.sum((1, 2)).mean() * self.temperature**2
