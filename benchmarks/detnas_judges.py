"""How paths are judged without training, and how long that takes; for `detnas_rows.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from random import Random
from time import process_time

import torch
from torch import Tensor

from deploy.data import Dataset
from optimizer.arch.paths import PathSubnet
from optimizer.data.crops import ObjectCrops
from optimizer.detectors.base import Detector
from optimizer.supernet.calibrate import calibration_batches, measure_norms
from optimizer.supernet.pool import TeacherPool, extract_calibrated
from optimizer.supernet.pretraining import BodyClassifier
from optimizer.supernet.single_path import SinglePathSupernet
from optimizer.trials.builder import Student
from optimizer.trials.canvases import detect_on
from optimizer.trials.screener import Screener

JUDGED = 64  # images, when it is measured how long judging takes; as many measure BatchNorm
TIMED = 5  # paths, the first of which is not counted
CPU = torch.device("cpu")
Judge = Callable[[PathSubnet], float]


@dataclass(frozen=True)
class PoolJudge:
    """AP of a path in a super-network, as a run has it: BatchNorm measured anew, on images that are kept out."""

    pool: TeacherPool
    fit: Dataset
    kept: Dataset

    @cached_property
    def screener(self) -> Screener:
        return Screener.of(self.fit, self.kept, CPU)

    def __call__(self, path: PathSubnet) -> float:
        detector: Detector = self.pool.extract(path, CPU)
        return self.screener.find_precision(Student(detector, detector.arch, (), 0.0), detector.arch).ap


@dataclass(frozen=True)
class ClassJudge:
    """Share of crops that get their class, by a path of the pre-trained body whose BatchNorm is measured anew."""

    supernet: SinglePathSupernet
    classifier: BodyClassifier
    calibration: list[tuple[Tensor, Tensor]]
    judged: list[tuple[Tensor, Tensor]]

    @torch.no_grad()
    def __call__(self, path: PathSubnet) -> float:
        body, last = self.supernet.extract(path).get_submodule("backbone.body"), self.classifier.last

        def run(images: Tensor) -> Tensor:
            return self.classifier.classify(body(images)["3"])

        measure_norms(torch.nn.ModuleList([body, last]), run, (images for images, _ in self.calibration), CPU)
        right = [(run(images).argmax(1) == labels).sum() for images, labels in self.judged]
        return float(torch.stack(right).sum()) / sum(len(labels) for _, labels in self.judged)


def read_crops(crops: ObjectCrops, indices: range, batch: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of images and their classes."""
    read = [crops.read(index, 0, index) for index in indices]
    groups = [read[start : start + batch] for start in range(0, len(read), batch)]
    return [
        (torch.stack([image for image, _ in group]), torch.cat([truth.labels for _, truth in group]))
        for group in groups
    ]


def time_judging(pool: TeacherPool, train: Dataset, size: tuple[int, int], seed: int) -> Iterator[dict[str, float]]:
    """Seconds that it takes to judge random paths, and of the forward passes of that alone, in turns."""
    config = pool.config.model_copy(update={"calibration_images": JUDGED})
    images, rng = train.first(JUDGED), Random(seed)
    screener = Screener.of(images, images, CPU)
    for number in range(TIMED):
        path = PathSubnet(pool.space.sample(rng).choices, size)
        started = process_time()
        detector = extract_calibrated(pool.supernet, path, config, images, CPU)
        screener.find_precision(Student(detector, detector.arch, (), 0.0), detector.arch)
        judged = process_time()
        body, shown = detector.get_submodule("backbone.body"), list(calibration_batches(images, config, size))
        ready = process_time()
        with torch.no_grad():
            for batch in shown:
                body(batch)
        for _ in detect_on(detector, screener.judged.on(size), CPU):
            pass
        if number:  # of the first one images are read that are kept for the others
            yield {"judging": judged - started, "passes": process_time() - ready}
