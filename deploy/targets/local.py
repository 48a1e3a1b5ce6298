"""The machine this process runs on."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Mapping, Sequence

from deploy.builders.build import prepare_model
from deploy.data.images import ImageFile
from deploy.detections import Detections
from deploy.measuring.measure import Measured, Setup, measure_models
from deploy.pipeline.detector import Detector, Timings
from deploy.pipeline.model import ModelSource
from deploy.targets.examine import Condition, examine_machine
from deploy.targets.spec import TargetSpec

__all__ = ["LocalTarget"]


@dataclass(frozen=True)
class LocalTarget:
    """A target without a link: what is asked is done here."""

    spec: TargetSpec

    def check(self) -> list[Condition]:
        """What this machine is, and whether the engine runs a small model."""
        engine = self.spec.engine
        return examine_machine(engine.name, engine.threads, Path(tempfile.gettempdir()))

    def measure(
        self,
        subjects: Mapping[str, ModelSource],
        images: Sequence[Path] = (),
        protocol: str = "screen",
        seed: int = 0,
        report: Callable[[str], None] = lambda line: None,
    ) -> dict[str, Measured]:
        """As `deploy.measuring.measure.measure_models`."""
        engine, measuring = self.spec.engine, self.spec.measuring
        setup = Setup(
            engine.name, engine.threads, measuring.mode, measuring.lock_clocks, self.spec.name, also=measuring.also
        )
        return measure_models(subjects, images, protocol, setup, seed, report)

    def detect(
        self, source: ModelSource, images: Sequence[ImageFile], report: Callable[[str], None] = lambda line: None
    ) -> Iterator[tuple[int, Detections, Timings]]:
        """As `Detector.detect_files`, by threads that wait without spinning: for detections, not for their times."""
        engine = self.spec.engine
        prepared = ModelSource.of(source, prepare_model(source.model, engine.name))
        with Detector(prepared, engine.threads, engine.name, spins=False) as detector:
            yield from detector.detect_files(images, report)
