"""The student's class distributions are the teacher's."""

from __future__ import annotations

from torch import Tensor

from optimizer.detectors.base import RegionView
from optimizer.distill.base import RegionDistiller
from optimizer.distill.divergence import find_divergence

__all__ = ["Classification"]


class Classification(RegionDistiller):
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
        divergence = find_divergence(student.log_probs, teacher.log_probs, self.temperature)
        return divergence.mean() * self.temperature**2
