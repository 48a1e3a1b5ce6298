"""Adapters from a student's feature maps to its teacher's, and the distance that is left."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["MapAdapters"]

SMALL = 1e-4


class MapAdapters(nn.ModuleList):
    """A 3x3 convolution for each map, trained with the student and not part of it.

    DeFeat's (FACTS 5.1, 5.2): on the neck without ReLU and all but 0 at first; on the body with ReLU. That all
    distillers of the neck share one set is this project's: papers give each its own, some with a ReLU, at several times
    the cost.

    Args:
        ours, theirs: channels of the student's maps and of the teacher's.
        rectified: whether a ReLU follows each.
    """

    def __init__(self, ours: Sequence[int], theirs: Sequence[int], rectified: bool = False) -> None:
        convolutions = [nn.Conv2d(width, wanted, 3, 1, 1) for width, wanted in zip(ours, theirs, strict=True)]
        for convolution in convolutions if not rectified else ():
            nn.init.trunc_normal_(convolution.weight, std=1.0, a=-2.0, b=2.0)
            with torch.no_grad():
                convolution.weight.mul_(SMALL)
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)
        super().__init__(convolutions)
        self.rectified = rectified

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> list[Tensor]:
        """The squared difference in each cell (B, h, w) of each map, mean over channels, in single precision."""
        assert len(student) == len(teacher) == len(self)
        return [
            (self.adapt(number, ours).float() - theirs.float()).square().mean(1)
            for number, (ours, theirs) in enumerate(zip(student, teacher))
        ]

    def adapt(self, number: int, student: Tensor) -> Tensor:
        """The student's map of this number as it is compared."""
        adapted: Tensor = self[number](student)
        return functional.relu(adapted) if self.rectified else adapted
