"""What every distiller is."""

from __future__ import annotations

from torch import Tensor, nn

from optimizer.detectors.base import RegionView

__all__ = ["Distiller"]


class Distiller(nn.Module):
    """Compares what student and teacher say of the same regions.

    Zero when the student equals the teacher; the gradient reaches the student and the distiller's own parameters only,
    because the teacher's view carries none. It sees neither trainer, nor optimiser, nor step number.
    """

    def forward(self, student: RegionView, teacher: RegionView) -> Tensor:
        """One scalar; 0 where there are no regions."""
        raise TypeError(f"{type(self).__name__} does not define forward")
