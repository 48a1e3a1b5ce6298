"""The student's RoI features, through an adapter, are the teacher's."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from optimizer.detectors.base import RegionView
from optimizer.distill.base import RegionDistiller

__all__ = ["ProposalFeature"]


class ProposalFeature(RegionDistiller):
    """Mean squared error between the teacher's RoI features and the student's after a 3x3 convolution.

    Joint-DetNAS (supplement, A.2) states the adapter: 3x3, stride 1, as many outputs as the teacher's pyramid (256).
    That it reads the 7x7 RoI feature and not the whole map is a reconstruction (FACTS 1.6). It starts as an identity,
    so that equal networks differ by nothing; of unequal widths as many channels as both have are passed on.

    Args:
        student_width, teacher_width: channels of the pyramids.
        max_regions: regions compared, evenly spread over the batch's; 0 is all.
    """

    def __init__(self, student_width: int, teacher_width: int, max_regions: int = 0) -> None:
        super().__init__()
        self.adapter = nn.Conv2d(student_width, teacher_width, 3, 1, 1)
        nn.init.dirac_(self.adapter.weight)
        assert self.adapter.bias is not None
        nn.init.zeros_(self.adapter.bias)
        self.max_regions = max_regions

    def forward(self, student: RegionView, teacher: RegionView) -> Tensor:
        ours, theirs = student.features, teacher.features
        if len(ours) == 0:
            return ours.sum() * 0.0
        step = -(-len(ours) // self.max_regions) if self.max_regions else 1
        return functional.mse_loss(self.adapter(ours[::step]).float(), theirs[::step])
