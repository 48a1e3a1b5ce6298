"""A target: the device a model is for, reached over its link."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator, Mapping, Protocol, Sequence

from deploy.data.images import ImageFile
from deploy.detections import Detections
from deploy.measuring.measure import Measured
from deploy.pipeline.detector import Timings
from deploy.pipeline.model import ModelSource
from deploy.targets.examine import Condition
from deploy.targets.spec import TargetSpec

__all__ = ["Target"]


class Target(Protocol):
    """A device that models are measured and run on."""

    @property
    def spec(self) -> TargetSpec: ...

    def check(self) -> list[Condition]:
        """What was found there, and what a measurement would lack; never raises for what is missing."""
        ...

    def measure(
        self,
        subjects: Mapping[str, ModelSource],
        images: Sequence[Path] = (),
        protocol: str = "screen",
        seed: int = 0,
        report: Callable[[str], None] = lambda line: None,
    ) -> dict[str, Measured]:
        """As `deploy.measuring.measure.measure_models`, on this device."""
        ...

    def detect(
        self, source: ModelSource, images: Sequence[ImageFile], report: Callable[[str], None] = lambda line: None
    ) -> Iterator[tuple[int, Detections, Timings]]:
        """As `Detector.detect_files`, on this device."""
        ...
