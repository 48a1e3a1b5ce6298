"""A teacher pool on disk: trained once, found again by what it was trained on and how.

A pool is a folder: `pool.json` (written last: a pool without it is still in training), `phase-<n>.safetensors` (the
super-network after each phase) and, meanwhile, the checkpoint of the phase in hand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from deploy import Preprocess
from deploy.data import Dataset
from deploy.evaluate import evaluate_detections
from deploy.files import hash_file
from optimizer.arch.subnets import Subnet, SubnetSpace
from optimizer.data.loader import TrainLoader
from optimizer.detectors import build_detector
from optimizer.detectors.base import Detector
from optimizer.errors import InputError
from optimizer.supernet.calibrate import recalibrate
from optimizer.supernet.config import ElasticConfig
from optimizer.supernet.elastic import slice_weights
from optimizer.train.predict import predict

__all__ = [
    "MANIFEST", "SCHEMA", "UNFINISHED", "PoolSummary", "TeacherPool", "evaluate_teacher", "extract_member", "find_pool",
    "is_trained", "key_pool", "list_pools", "name_data", "open_pool", "phase_path", "read_ap",
]  # fmt: skip

SCHEMA = 1
MANIFEST = "pool.json"
UNFINISHED = "training.json"
NO_MATTER = {"checkpoint_every_s", "max_bad_losses"}
CALIBRATION_BATCH = 4  # images; any number gives much the same averages


@dataclass(frozen=True)
class TeacherPool:
    """A trained pool.

    Attributes:
        weights: state dict of the super-network, on the CPU.
        calibration: what BatchNorm statistics of extracted networks are measured on.
    """

    folder: Path
    config: ElasticConfig
    class_names: tuple[str, ...]
    weights: dict[str, Tensor]
    calibration: Dataset

    @property
    def space(self) -> SubnetSpace:
        return self.config.space()

    def extract(self, subnet: Subnet, device: torch.device, canvas: tuple[int, int] | None = None) -> Detector:
        """A plain static detector of one member, BatchNorm statistics measured anew, in evaluation mode.

        It shares no memory with the pool, and is the same whenever it is asked for.

        Args:
            canvas: (width, height) it is going to look at; None is its own.

        Raises:
            InputError: the pool has no such member.
        """
        if not self.space.contains(subnet):
            raise InputError(f"the teacher pool {self.folder} has no member {subnet}")
        return extract_member(self.weights, self.config, subnet, self.calibration, device, canvas)


@dataclass(frozen=True)
class PoolSummary:
    """What `optimize teachers list` shows of a pool; `ap` by member, empty while it is in training."""

    folder: Path
    config: ElasticConfig
    class_names: tuple[str, ...]
    finished: bool
    ap: dict[str, float]


def key_pool(config: ElasticConfig, dataset: Dataset) -> str:
    """What makes a pool the one wanted: recipe, classes, and every image's name, size and objects; 12 hex digits.

    How often a training is saved, and when it gives up, change nothing of the outcome and are not part of it.
    """
    recipe = config.model_dump(mode="json", exclude={"phases": {"__all__": {"train": NO_MATTER}}})
    text = json.dumps(recipe, sort_keys=True)
    return hashlib.sha256(f"{text}|{_fingerprint(dataset)}".encode()).hexdigest()[:12]


def find_pool(folder: Path, config: ElasticConfig, dataset: Dataset | None) -> tuple[Path, ElasticConfig]:
    """Where a pool for this recipe and data is, or will be, and its recipe.

    Args:
        folder: one that holds pools; or a pool that somebody names, which may be of another recipe.
        dataset: None where the images are yet to be generated; then a pool is not held against them.

    Raises:
        InputError: the pool that was named does not fit: other classes, other images, another kind of detector, or
            another recipe and not trained to the end.
    """
    trained = is_trained(folder)
    if not trained and not (folder / UNFINISHED).is_file():
        return folder / f"{config.family}-{key_pool(config, dataset) if dataset else 'new'}", config
    manifest = _read_manifest(folder, MANIFEST if trained else UNFINISHED)
    if dataset is not None and tuple(manifest["class_names"]) != dataset.class_names:
        raise InputError(
            f"the teachers in {folder} know the classes {', '.join(manifest['class_names'])}; the data has "
            f"{', '.join(dataset.class_names)}"
        )
    if dataset is not None and manifest["data"] != _fingerprint(dataset):
        raise InputError(
            f"the teachers in {folder} were trained on other images than these; train a pool for them: "
            "optimize teachers train"
        )
    found = ElasticConfig.model_validate(manifest["config"])
    if found.detector != config.detector:
        raise InputError(f"the teachers in {folder} are {found.detector} detectors; a {config.detector} is wanted")
    if not trained and dataset is not None and key_pool(found, dataset) != key_pool(config, dataset):
        raise InputError(f"the teachers in {folder} are not trained to the end, and by another recipe than this run's")
    return folder, found


def is_trained(folder: Path) -> bool:
    """Whether a whole pool is there."""
    return (folder / MANIFEST).is_file()


def read_ap(folder: Path) -> dict[str, float]:
    """AP of the members of a trained pool that were evaluated, by member."""
    ap: dict[str, float] = _read_manifest(folder).get("ap", {})
    return ap


def open_pool(folder: Path, dataset: Dataset) -> TeacherPool:
    """A trained pool.

    Raises:
        InputError: there is none, or it is damaged.
    """
    manifest = _read_manifest(folder)
    config = ElasticConfig.model_validate(manifest["config"])
    path = phase_path(folder, len(config.phases) - 1)
    if not path.is_file() or hash_file(path) != manifest["weights_sha256"]:
        raise InputError(f"the teacher pool {folder} is damaged: {path.name} is not the file it was made with")
    return TeacherPool(folder, config, dataset.class_names, load_file(path), dataset)


def list_pools(folder: Path) -> list[PoolSummary]:
    """Every pool in a folder, finished or not, by name."""
    summaries = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        finished = (path / MANIFEST).is_file()
        if not finished and not (path / UNFINISHED).is_file():
            continue
        manifest = _read_manifest(path, MANIFEST if finished else UNFINISHED)
        config = ElasticConfig.model_validate(manifest["config"])
        summaries.append(PoolSummary(path, config, tuple(manifest["class_names"]), finished, manifest.get("ap", {})))
    return summaries


def evaluate_teacher(detector: Detector, dataset: Dataset, device: torch.device) -> float:
    """COCO average precision of a PyTorch detector on its own canvas."""
    preprocess = Preprocess.imagenet(*detector.arch.input_size)
    return evaluate_detections(dataset, predict(detector, dataset.records, preprocess, device)).ap


def extract_member(
    weights: dict[str, Tensor],
    config: ElasticConfig,
    subnet: Subnet,
    dataset: Dataset,
    device: torch.device,
    canvas: tuple[int, int] | None = None,
) -> Detector:
    """The static detector of one member of a super-network; see `TeacherPool.extract`."""
    space: SubnetSpace = config.space()
    arch = space.arch(subnet)
    detector = build_detector(arch, len(dataset.class_names))
    detector.load_state_dict(slice_weights(weights, arch))
    loader = TrainLoader(
        dataset,
        Preprocess.imagenet(*(canvas or arch.input_size)),
        batch_size=CALIBRATION_BATCH,
        seed=config.seed,
        augment="none",
    )

    def batches() -> Iterator[Tensor]:
        for images, _ in islice(loader.epoch(0), -(-config.calibration_images // CALIBRATION_BATCH)):
            yield images

    recalibrate(detector, batches(), device)
    return detector


def _fingerprint(dataset: Dataset) -> str:
    """SHA-256 over classes, and name, size, boxes and labels of every image."""
    digest = hashlib.sha256("|".join(dataset.class_names).encode())
    for record in dataset.records:
        digest.update(f"{record.path.name} {record.width} {record.height}".encode())
        digest.update(record.boxes_xyxy.tobytes())
        digest.update(record.labels.tobytes())
    return digest.hexdigest()


def name_data(dataset: Dataset) -> dict[str, Any]:
    """What a manifest says of the data."""
    return {"class_names": list(dataset.class_names), "images": len(dataset.records), "data": _fingerprint(dataset)}


def phase_path(folder: Path, phase: int) -> Path:
    """Where the super-network lies as a phase left it."""
    return folder / f"phase-{phase}.safetensors"


def _read_manifest(folder: Path, name: str = MANIFEST) -> dict[str, Any]:
    finished = name == MANIFEST
    try:
        manifest: dict[str, Any] = json.loads((folder / name).read_text())
        if finished and manifest["schema"] != SCHEMA:
            raise InputError(f"{folder} has schema version {manifest['schema']}; this release reads version {SCHEMA}")
        ElasticConfig.model_validate(manifest["config"])
        for key in ("class_names", "data", *(["weights_sha256"] if finished else [])):
            manifest[key]
    except FileNotFoundError as error:
        raise InputError(f"{folder} is no teacher pool: it has no {name}") from error
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        why = " ".join(repr(error).split())  # a fault that pydantic finds has several lines
        raise InputError(f"the teacher pool {folder} is damaged: {name} cannot be read ({why:.120})") from error
    return manifest
