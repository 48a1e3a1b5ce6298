"""A student looked at without training: what it detects with the weights it inherits."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from deploy.data import Dataset
from deploy.evaluate import AveragePrecision, evaluate_detections
from optimizer.arch.spec import ArchSpec
from optimizer.supernet.calibrate import recalibrate
from optimizer.trials.builder import Student
from optimizer.trials.canvases import Canvases, detect_on

__all__ = ["Screener"]

CALIBRATION_IMAGES = 64


@dataclass(frozen=True)
class Screener:
    """Judges students by the images that are kept out of training; BatchNorm is measured anew on some of the others.

    Attributes:
        kept: the images to judge by. calibration: those to measure BatchNorm on.
    """

    kept: Dataset
    calibration: Canvases
    judged: Canvases
    device: torch.device

    @classmethod
    def of(cls, fit: Dataset, kept: Dataset, device: torch.device) -> Screener:
        """One that reads the images when they are first asked for."""
        spaced = fit.records[:: max(1, len(fit.records) // CALIBRATION_IMAGES)][:CALIBRATION_IMAGES]
        return cls(kept, Canvases(spaced), Canvases(kept.records), device)

    def find_precision(self, student: Student, parent: ArchSpec) -> AveragePrecision:
        """Average precision of a student that was just made from such a parent.

        BatchNorm keeps the parent's statistics where body and canvas are the parent's.
        """
        arch, detector = student.arch, student.detector
        if (arch.body, arch.input_size) != (parent.body, parent.input_size):
            batches = (batch.images for batch in self.calibration.on(arch.input_size))
            recalibrate(detector, batches, self.device)
        found = detect_on(detector, self.judged.on(arch.input_size), self.device)
        return evaluate_detections(self.kept, found)
