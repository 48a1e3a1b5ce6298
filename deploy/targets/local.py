"""The machine this process runs on."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

from deploy.bundle import Bundle
from deploy.canary import write_canary
from deploy.detections import Detections
from deploy.device import read_fingerprint
from deploy.engines import open_engine
from deploy.measure import Measured, Subject, measure_models
from deploy.pipeline.detector import Detector, Timings
from deploy.pipeline.sources import iterate_images
from deploy.sensors import describe_reading, read_now
from deploy.targets.base import TargetSpec
from deploy.timing import make_noise
from deploy.watching import uses_gpu

__all__ = ["LocalTarget"]


@dataclass(frozen=True)
class LocalTarget:
    """A target without a link: what is asked is done here."""

    spec: TargetSpec

    def check(self) -> List[str]:
        """What this machine is, after a small model ran on it."""
        with tempfile.TemporaryDirectory(prefix="canary-") as folder:
            model = write_canary(Path(folder) / "canary.onnx")
            with open_engine(model, self.spec.threads, self.spec.engine) as engine:
                engine.infer(make_noise(engine.inputs, 0, model.name))
                device = read_fingerprint(engine.runtime, engine.threads)
        return [
            "target {}: works".format(self.spec.name),
            "device: {}, {} physical cores, load {:.2f}".format(device.cpu, device.cores, device.load_average),
            "runtime: {}, {} threads".format(device.runtime, device.threads),
            "system: {}, governor {}".format(device.system, device.governor or "not readable"),
            describe_reading(read_now(uses_gpu(self.spec.engine))),
        ]

    def measure(
        self,
        subjects: Mapping[str, Subject],
        images: Sequence[Path] = (),
        level: str = "screen",
        seed: int = 0,
        report: Callable[[str], None] = lambda line: None,
    ) -> Dict[str, Measured]:
        """As `deploy.measure.measure_models`."""
        return measure_models(
            subjects,
            images,
            level,
            target=self.spec.name,
            engine=self.spec.engine,
            threads=self.spec.threads,
            seed=seed,
            report=report,
            mode=self.spec.mode,
            lock_clocks=self.spec.lock_clocks,
        )

    def detect(
        self, bundle: Bundle, images: Sequence[Path], report: Callable[[str], None] = lambda line: None
    ) -> Iterator[Tuple[Path, Detections, Timings]]:
        """Objects in each image, one image at a time."""
        with Detector(bundle, self.spec.threads, self.spec.engine) as detector:
            for path, image in iterate_images(images, report):
                yield (path, *detector.detect_timed(image))
