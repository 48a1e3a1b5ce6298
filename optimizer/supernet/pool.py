"""A teacher pool on disk: trained once, found again by what it was trained on and how.

A pool is a folder: `pool.json` (written last: a pool without it is still in training), `phase-<n>.safetensors` (the
super-network after each phase) and, meanwhile, the checkpoint of the phase in hand.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from deploy import Preprocess
from deploy.data import Dataset
from deploy.evaluate import evaluate_detections
from optimizer.arch.pool import PoolSpace, Subnet
from optimizer.data.loader import TrainLoader
from optimizer.detectors import build_detector
from optimizer.detectors.base import Detector
from optimizer.errors import InputError, RunFailed
from optimizer.progress import RunProgress
from optimizer.seeds import derive_seed
from optimizer.store.artefacts import explain_disk_errors, hash_file
from optimizer.store.lock import take_lock
from optimizer.supernet.calibrate import recalibrate
from optimizer.supernet.config import PoolConfig
from optimizer.supernet.elastic import rank_channels, slice_weights
from optimizer.supernet.step import ShrinkStep, SupernetStep
from optimizer.train.loop import Progress, train
from optimizer.train.predict import predict

__all__ = [
    "PoolSummary", "TeacherPool", "evaluate_teacher", "find_pool", "is_trained", "key_pool", "list_pools", "open_pool",
    "train_pool",
]  # fmt: skip

SCHEMA = 1
MANIFEST = "pool.json"


@dataclass(frozen=True)
class TeacherPool:
    """A trained pool.

    Attributes:
        weights: state dict of the super-network, on the CPU.
        calibration: what BatchNorm statistics of extracted networks are measured on.
    """

    folder: Path
    config: PoolConfig
    class_names: tuple[str, ...]
    weights: dict[str, Tensor]
    calibration: Dataset

    @property
    def space(self) -> PoolSpace:
        return self.config.space()

    def extract(self, subnet: Subnet, device: torch.device) -> Detector:
        """A plain static detector of one member, BatchNorm statistics measured anew, in evaluation mode.

        It shares no memory with the pool, and is the same whenever it is asked for.

        Raises:
            InputError: the pool has no such member.
        """
        if not self.space.contains(subnet):
            raise InputError(f"the teacher pool {self.folder} has no member {subnet}")
        return _extract(self.weights, self.config, subnet, self.calibration, device)


@dataclass(frozen=True)
class PoolSummary:
    """What `optimize teachers list` shows of a pool; `ap` by member, empty while it is in training."""

    folder: Path
    config: PoolConfig
    class_names: tuple[str, ...]
    finished: bool
    ap: dict[str, float]


def key_pool(config: PoolConfig, dataset: Dataset) -> str:
    """What makes a pool the one wanted: recipe, classes, and every image's name, size and objects; 12 hex digits."""
    return hashlib.sha256(f"{config.model_dump_json()}|{_fingerprint(dataset)}".encode()).hexdigest()[:12]


def find_pool(folder: Path, config: PoolConfig, dataset: Dataset) -> Path:
    """Where a pool for this recipe and data is, or will be.

    Args:
        folder: one that holds pools, or a trained pool that somebody names.

    Raises:
        InputError: the pool that was named does not fit: other classes, other images, another kind of detector.
    """
    if not (folder / MANIFEST).exists():
        return folder / f"{config.family}-{key_pool(config, dataset)}"
    manifest = _read_manifest(folder)
    if tuple(manifest["class_names"]) != dataset.class_names:
        raise InputError(
            f"the teachers in {folder} know the classes {', '.join(manifest['class_names'])}; the data has "
            f"{', '.join(dataset.class_names)}"
        )
    if manifest["data"] != _fingerprint(dataset):
        raise InputError(
            f"the teachers in {folder} were trained on other images than these; train a pool for them: "
            "optimize teachers train"
        )
    return folder


def is_trained(folder: Path) -> bool:
    """Whether a whole pool is there."""
    return (folder / MANIFEST).is_file()


def open_pool(folder: Path, dataset: Dataset) -> TeacherPool:
    """A trained pool.

    Raises:
        InputError: there is none, or it is damaged.
    """
    manifest = _read_manifest(folder)
    config = PoolConfig.model_validate(manifest["config"])
    path = _phase_path(folder, len(config.phases) - 1)
    if not path.is_file() or hash_file(path) != manifest["weights_sha256"]:
        raise InputError(f"the teacher pool {folder} is damaged: {path.name} is not the file it was made with")
    return TeacherPool(folder, config, dataset.class_names, load_file(path), dataset)


def train_pool(
    folder: Path,
    config: PoolConfig,
    train_data: Dataset,
    val_data: Dataset,
    device: torch.device,
    progress: RunProgress,
    workers: int = 0,
) -> TeacherPool:
    """Train a pool in `folder`, from wherever an earlier process left it.

    Raises:
        RunFailed: the training diverged, or the disk is full; what was trained so far is kept.
    """
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with take_lock(folder), explain_disk_errors(folder):
        if not (folder / MANIFEST).exists():
            _write_json(folder / "training.json", {"config": config.model_dump(mode="json")} | _name_data(train_data))
            detector: Detector | None = None
            for phase in range(len(config.phases)):
                detector = _train_phase(folder, phase, detector, config, train_data, device, progress, workers)
            assert detector is not None
            _finish(folder, config, train_data, val_data, device, progress)
    return open_pool(folder, train_data)


def list_pools(folder: Path) -> list[PoolSummary]:
    """Every pool in a folder, finished or not, by name."""
    summaries = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        finished = (path / MANIFEST).is_file()
        if not finished and not (path / "training.json").is_file():
            continue
        manifest = _read_manifest(path) if finished else json.loads((path / "training.json").read_text())
        config = PoolConfig.model_validate(manifest["config"])
        summaries.append(PoolSummary(path, config, tuple(manifest["class_names"]), finished, manifest.get("ap", {})))
    return summaries


def _train_phase(
    folder: Path,
    phase: int,
    before: Detector | None,
    config: PoolConfig,
    dataset: Dataset,
    device: torch.device,
    progress: RunProgress,
    workers: int,
) -> Detector:
    """The super-network after a phase: loaded where the phase is done, else trained."""
    space = config.space()
    path, checkpoint = _phase_path(folder, phase), folder / f"phase-{phase}.ckpt"
    detector = build_detector(space.arch(space.largest()), len(dataset.class_names), seed=config.seed)
    if path.exists():
        _load(detector, path)
        return detector
    step: SupernetStep | ShrinkStep = SupernetStep(config.space(phase), derive_seed(config.seed, phase))
    if phase > 0:
        assert before is not None
        detector.load_state_dict(before.state_dict())
        teacher = build_detector(detector.arch, detector.num_classes)
        _load(teacher, _phase_path(folder, 0))
        if phase == 1:
            rank_channels(detector)
        step = ShrinkStep(config.space(phase), teacher, config.distill, derive_seed(config.seed, phase))
    recipe = config.phases[phase].train
    largest = max(config.sizes, key=lambda size: size[0] * size[1])
    loader = TrainLoader(
        dataset, Preprocess.imagenet(*largest), batch_size=config.batch_size,
        seed=derive_seed(config.seed, "pool", phase), augment="light", workers=workers,
    )  # fmt: skip
    what = "the super-network" if phase == 0 else f"{config.space(phase).count()} sub-networks"
    progress.start_step(f"teachers {phase + 1}/{len(config.phases)}: {what}", len(loader) * recipe.epochs)

    def show(at: Progress) -> None:
        progress.advance_step(at.step, note=f"loss {at.loss:.2f}")

    train(
        detector, loader, step, recipe, device=device, seed=derive_seed(config.seed, phase), checkpoint=checkpoint,
        report=show,
    )  # fmt: skip
    _save(detector, path)
    checkpoint.unlink(missing_ok=True)
    return detector.cpu()


def _finish(
    folder: Path,
    config: PoolConfig,
    train_data: Dataset,
    val_data: Dataset,
    device: torch.device,
    progress: RunProgress,
) -> None:
    """Average precision of three members, then the manifest that makes the pool one."""
    path = _phase_path(folder, len(config.phases) - 1)
    weights, space = load_file(path), config.space()
    middle = Subnet(
        tuple(choices[len(choices) // 2] for choices in space.depths),
        (space.widths[len(space.widths) // 2],) * 4,
        space.sizes[0],
    )
    ap = {}
    for member in dict.fromkeys((space.largest(), middle, space.smallest())):
        progress.start_step(f"teachers: AP of {member}", 1)
        detector = _extract(weights, config, member, train_data, device)
        ap[str(member)] = evaluate_teacher(detector, val_data, device)
        progress.advance_step(1)
    listed = ", ".join(f"{name} AP {value:.3f}" for name, value in ap.items())
    progress.say(f"teacher pool {folder.name}: {space.count()} members; {listed}")
    manifest = {
        "schema": SCHEMA, "config": config.model_dump(mode="json"), "weights_sha256": hash_file(path), "ap": ap,
    } | _name_data(train_data)  # fmt: skip
    _write_json(folder / MANIFEST, manifest)
    (folder / "training.json").unlink(missing_ok=True)


def evaluate_teacher(detector: Detector, dataset: Dataset, device: torch.device) -> float:
    """COCO average precision of a PyTorch detector on its own canvas."""
    preprocess = Preprocess.imagenet(*detector.arch.input_size)
    return evaluate_detections(dataset, predict(detector, dataset.records, preprocess, device)).ap


def _extract(
    weights: dict[str, Tensor], config: PoolConfig, subnet: Subnet, dataset: Dataset, device: torch.device
) -> Detector:
    arch = config.space().arch(subnet)
    detector = build_detector(arch, len(dataset.class_names))
    detector.load_state_dict(slice_weights(weights, arch))
    loader = TrainLoader(
        dataset, Preprocess.imagenet(*subnet.size), batch_size=config.batch_size, seed=config.seed, augment="none"
    )

    def batches() -> Iterator[Tensor]:
        for images, _ in islice(loader.epoch(0), config.calibration_batches):
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


def _name_data(dataset: Dataset) -> dict[str, Any]:
    return {"class_names": list(dataset.class_names), "images": len(dataset.records), "data": _fingerprint(dataset)}


def _phase_path(folder: Path, phase: int) -> Path:
    return folder / f"phase-{phase}.safetensors"


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        if manifest["schema"] != SCHEMA:
            raise InputError(f"{folder} has schema version {manifest['schema']}; this release reads version {SCHEMA}")
        PoolConfig.model_validate(manifest["config"])
        for key in ("class_names", "data", "weights_sha256"):
            manifest[key]
    except FileNotFoundError as error:
        raise InputError(f"{folder} is no teacher pool: it has no {MANIFEST}") from error
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise InputError(f"the teacher pool {folder} is damaged: {MANIFEST} cannot be read ({error!r:.120})") from error
    return manifest


def _load(detector: Detector, path: Path) -> None:
    try:
        detector.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise RunFailed(f"{path} is damaged ({type(error).__name__}); delete it to train that phase again") from error


def _save(detector: Detector, path: Path) -> None:
    """Whole or not at all."""
    _replace(path, lambda aside: save_file({n: v.contiguous().cpu() for n, v in detector.state_dict().items()}, aside))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    _replace(path, lambda aside: aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8"))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    aside = path.with_name(path.name + ".part")
    try:
        write(aside)
    except SafetensorError as error:
        raise RunFailed(f"cannot write {path}: {error}; free some space, then start again") from error
    descriptor = os.open(aside, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    aside.replace(path)
