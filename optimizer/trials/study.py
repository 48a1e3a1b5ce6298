"""What is learned of a trained network before it is edited: what its channels matter, and what its layers read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from deploy import Preprocess
from deploy.data import Dataset
from optimizer.config import RunConfig
from optimizer.data.loader import TrainLoader
from optimizer.detectors import load_detector
from optimizer.detectors.base import Detector, Truth
from optimizer.detectors.tensors import load_tensors
from optimizer.morph import Moments, measure_gates, measure_moments, spread_gates
from optimizer.search.base import DoneTrial
from optimizer.seeds import derive_seed
from optimizer.store.artefacts import ArtefactStore
from optimizer.train.tensor_files import save_tensors

__all__ = ["Studies", "Study", "count_studied"]

MOST_IMAGES, LEAST_IMAGES, BATCH_SIZE = 64, 16, 4
EPOCH_SHARE = 0.25  # of the training images, where those are few: looking at them must not cost an epoch of training
REMEMBERED = 3  # parents; most proposals in a row have one of a few


def count_studied(images: int) -> int:
    """How many of the training images a network is studied on."""
    return min(max(int(EPOCH_SHARE * images), LEAST_IMAGES), MOST_IMAGES)


@dataclass(frozen=True)
class Study:
    """What `morph` wants to know of a network: its weights, and `ranked_by` and `moments` where asked for."""

    weights: dict[str, Tensor]
    ranked_by: dict[str, Tensor] | None
    moments: Moments | None


@dataclass(frozen=True)
class Studies:
    """Studies the trained students of a run, each once.

    What the channels matter is kept in a file, because architectures follow from it: a resumed run, even on another
    machine, makes the same ones. Everything else is remembered of the last few students.

    Attributes:
        images: those trained on. scratch: folder of the files.
    """

    config: RunConfig
    images: Dataset
    artefacts: ArtefactStore
    scratch: Path
    device: torch.device
    _remembered: OrderedDict[str, Study] = field(default_factory=OrderedDict, repr=False, compare=False)

    def __call__(self, trial: DoneTrial, *, edited: bool = True) -> Study:
        """Of the network that this trial left; of one that is not edited the weights are all there is to know."""
        key = trial.files.weights
        if key not in self._remembered:
            if not edited:
                return Study(self._read_weights(trial), None, None)
            while len(self._remembered) >= REMEMBERED:
                self._remembered.popitem(last=False)
            self._remembered[key] = self._make(trial)
        self._remembered.move_to_end(key)
        return self._remembered[key]

    def _make(self, trial: DoneTrial) -> Study:
        weights = self._read_weights(trial)
        if trial.number == 0 and self.config.search.elastic:  # its children were trained in this order, as they are
            return Study(weights, None, None)
        ranked_by = moments = None
        if self.config.importance == "taylor":
            ranked_by = spread_gates(self._find_gates(trial, weights), weights)
        if self.config.compensates:
            detector = self._load(trial, weights)
            moments = measure_moments(detector, (images for images, _ in self._draw(detector)))
        return Study(weights, ranked_by, moments)

    def _read_weights(self, trial: DoneTrial) -> dict[str, Tensor]:
        return load_tensors(self.artefacts.find(trial, "weights"), trial.files.weights)

    def _find_gates(self, trial: DoneTrial, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        path = self.scratch / f"gates-{trial.files.weights}.safetensors"
        if not path.exists():
            detector = self._load(trial, weights)
            gates = measure_gates(detector, self._draw(detector), derive_seed(self.config.seed, "gates"))
            save_tensors(path, gates)
        return load_tensors(path)

    def _load(self, trial: DoneTrial, weights: dict[str, Tensor]) -> Detector:
        return load_detector(trial.arch, len(self.images.class_names), weights).to(self.device)

    def _draw(self, detector: Detector) -> Iterator[tuple[Tensor, list[Truth]]]:
        """Batches of training images as they are, the same ones each time."""
        canvas = Preprocess.imagenet(*detector.arch.input_size)
        loader = TrainLoader(self.images, canvas, batch_size=BATCH_SIZE, seed=self.config.seed)
        return islice(loader.epoch(0), -(-count_studied(len(self.images.records)) // BATCH_SIZE))
