"""The student's box regression is the teacher's."""

from __future__ import annotations

from torch import Tensor

from optimizer.detectors.base import RegionView
from optimizer.distill.base import RegionDistiller

__all__ = ["Localization"]


class Localization(RegionDistiller):
    """L1 distance between the box regression outputs, summed over the four coordinates, mean over regions.

    Class-aware: |sum over classes of p_teacher(class) * (teacher's box - student's box)|, the class-specific boxes of a
    region weighed before the absolute value; background counts as no difference. The formula is that of a later paper
    of the same group (FACTS 1.6). Plain: the mean over classes of |teacher's - student's|, whatever the class; that the
    original form is an L1 distance is a reconstruction.
    """

    def __init__(self, class_aware: bool = True) -> None:
        super().__init__()
        self.class_aware = class_aware

    def forward(self, student: RegionView, teacher: RegionView) -> Tensor:
        difference = teacher.deltas - student.deltas
        if len(difference) == 0:
            return student.deltas.sum() * 0.0
        if not self.class_aware:
            return difference.abs().sum(-1).mean()
        return (teacher.delta_probs[..., None] * difference).sum(1).abs().sum(-1).mean()
