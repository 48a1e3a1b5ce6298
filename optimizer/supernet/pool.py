"""A teacher pool on disk: trained once, found again by what it was trained on and how.

A pool is a folder: its manifest, `phase-<n>.safetensors` (the super-network after each phase) and, meanwhile, the
checkpoint of the current phase.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from deploy import Preprocess
from deploy.data import Dataset
from deploy.evaluate import evaluate_detections
from optimizer.arch.subnets import Subnet, SubnetSpace
from optimizer.detectors.base import Detector
from optimizer.detectors.tensors import fit_tensors, load_tensors
from optimizer.errors import InputError
from optimizer.supernet.base import Supernet
from optimizer.supernet.calibrate import calibration_batches, recalibrate
from optimizer.supernet.config import SupernetConfig
from optimizer.supernet.manifest import Manifest, find_manifest, key_pool, read_manifest
from optimizer.train.predict import predict

__all__ = ["TeacherPool", "evaluate_teacher", "extract_calibrated", "find_pool", "list_pools", "open_pool"]


@dataclass(frozen=True)
class TeacherPool:
    """A trained super-network, whose subnets teach students or become students.

    Attributes:
        supernet: on the CPU.
        calibration: images on which BatchNorm statistics of extracted subnets are measured.
    """

    manifest: Manifest
    supernet: Supernet
    calibration: Dataset

    @property
    def folder(self) -> Path:
        return self.manifest.folder

    @property
    def config(self) -> SupernetConfig:
        return self.manifest.config

    @property
    def space(self) -> SubnetSpace:
        return self.supernet.space

    def extract(self, subnet: Subnet, device: torch.device, canvas: tuple[int, int] | None = None) -> Detector:
        """A plain static detector of one subnet, BatchNorm statistics measured anew, in evaluation mode.

        It shares no memory with the pool, and is the same whenever it is asked for.

        Args:
            canvas: (width, height) it is going to look at; None is its own.

        Raises:
            InputError: the pool has no such subnet.
        """
        if not self.space.contains(subnet):
            raise InputError(f"the teacher pool {self.folder} has no member {subnet}")
        return extract_calibrated(self.supernet, subnet, self.config, self.calibration, device, canvas)


def extract_calibrated(
    supernet: Supernet,
    subnet: Subnet,
    config: SupernetConfig,
    dataset: Dataset,
    device: torch.device,
    canvas: tuple[int, int] | None = None,
) -> Detector:
    """A subnet as it is to be used; see `TeacherPool.extract`."""
    detector = supernet.extract(subnet)
    recalibrate(detector, calibration_batches(dataset, config, canvas or detector.arch.input_size), device)
    return detector


def evaluate_teacher(detector: Detector, dataset: Dataset, device: torch.device) -> float:
    """COCO average precision of a PyTorch detector on its own canvas."""
    preprocess = Preprocess.imagenet(*detector.arch.input_size)
    return evaluate_detections(dataset, predict(detector, dataset.records, preprocess, device)).ap


def find_pool(folder: Path, config: SupernetConfig, dataset: Dataset | None) -> tuple[Path, SupernetConfig]:
    """Where a pool for this recipe and data is, or will be, and its recipe.

    Args:
        folder: one that holds pools; or a pool that somebody names, which may be of another recipe.
        dataset: None where the images are yet to be generated; then a pool is not held against them.

    Raises:
        InputError: the pool that was named does not fit: other classes, other images, another kind of detector, or
            another recipe and not trained to the end.
    """
    manifest = find_manifest(folder)
    if manifest is None:
        return folder / f"{config.name}-{key_pool(config, dataset) if dataset else 'new'}", config
    if dataset is not None and manifest.class_names != dataset.class_names:
        raise InputError(
            f"the teachers in {folder} know the classes {', '.join(manifest.class_names)}; the data has "
            f"{', '.join(dataset.class_names)}"
        )
    if dataset is not None and not manifest.is_of(dataset):
        raise InputError(
            f"the teachers in {folder} were trained on other images than these; train a pool for them: "
            "optimize supernets train"
        )
    found = manifest.config
    if found.detector != config.detector:
        raise InputError(f"the teachers in {folder} are {found.detector} detectors; a {config.detector} is wanted")
    if not manifest.is_trained and dataset is not None and key_pool(found, dataset) != key_pool(config, dataset):
        raise InputError(f"the teachers in {folder} are not trained to the end, and by another recipe than this run's")
    return folder, found


def open_pool(folder: Path, dataset: Dataset) -> TeacherPool:
    """A trained pool; `dataset` is what it was trained on.

    Raises:
        InputError: there is none, or it is damaged.
    """
    manifest = read_manifest(folder)
    try:
        weights = load_tensors(manifest.weights, manifest.weights_sha256)
    except InputError as error:
        raise InputError(
            f"the teacher pool {folder} is damaged: {manifest.weights.name} is not the file it was made with ({error})"
        ) from error
    supernet = manifest.config.build(len(dataset.class_names))
    fit_tensors(supernet.shared, weights, f"the weights of the teacher pool {folder}")
    return TeacherPool(manifest, supernet, dataset)


def list_pools(folder: Path) -> list[Manifest]:
    """Every pool in a folder, trained or in training, by name."""
    found = [find_manifest(path) for path in sorted(folder.iterdir())] if folder.is_dir() else []
    return [manifest for manifest in found if manifest is not None]
