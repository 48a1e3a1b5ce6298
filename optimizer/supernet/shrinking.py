"""Training a teacher pool: the super-network alone, then sub-networks of it in two shrinking phases."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from deploy import Preprocess
from deploy.data import Dataset
from deploy.files import hash_file, replace_file, write_file
from optimizer.data.loader import TrainLoader
from optimizer.detectors import build_detector
from optimizer.detectors.base import Detector
from optimizer.errors import RunFailed
from optimizer.progress import RunProgress
from optimizer.seeds import derive_seed
from optimizer.store.artefacts import explain_disk_errors
from optimizer.store.lock import wait_for_lock
from optimizer.supernet.config import ElasticConfig
from optimizer.supernet.elastic import rank_channels
from optimizer.supernet.pool import (
    MANIFEST,
    SCHEMA,
    UNFINISHED,
    TeacherPool,
    evaluate_teacher,
    extract_member,
    is_trained,
    name_data,
    open_pool,
    phase_path,
)
from optimizer.supernet.step import ShrinkStep
from optimizer.train.distributed import current_world
from optimizer.train.loop import Progress, train
from optimizer.train.steps import DetectionStep, LossStep

__all__ = ["PoolJob", "train_phase", "train_pool"]


class PoolJob(BaseModel):
    """One phase of a pool's training, for whatever process takes part in it.

    Attributes:
        data: folder of the training images; folder: of the pool, on a file system that all processes see.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["pool"] = "pool"
    config: ElasticConfig
    folder: Path
    phase: int
    data: Path
    workers: int = 0


def train_pool(
    folder: Path,
    config: ElasticConfig,
    splits: tuple[Dataset, Dataset],
    data: Path,
    device: torch.device,
    progress: RunProgress,
    workers: int = 0,
    tell: Callable[[PoolJob], None] = lambda job: None,
) -> TeacherPool:
    """Train a pool in `folder`, from wherever an earlier process left it; a trained one is only opened.

    Args:
        splits: training and validation records, which lie in `data`.
        tell: called before each phase, so that other processes can join it.

    Raises:
        RunFailed: the training diverged, or the disk is full; what was trained so far is kept.
    """
    train_data, val_data = splits
    if is_trained(folder):
        return open_pool(folder, train_data)
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with wait_for_lock(folder, progress.say), explain_disk_errors(folder):
        if not is_trained(folder):  # another process may have trained it meanwhile
            _write_json(folder / UNFINISHED, {"config": config.model_dump(mode="json")} | name_data(train_data))
            for phase in range(len(config.phases)):
                job = PoolJob(config=config, folder=folder, phase=phase, data=data, workers=workers)
                if not phase_path(folder, phase).exists():
                    tell(job)
                    train_phase(job, train_data, device, progress)
            _finish(folder, config, train_data, val_data, device, progress)
    return open_pool(folder, train_data)


def train_phase(job: PoolJob, dataset: Dataset, device: torch.device, progress: RunProgress | None = None) -> None:
    """Train one phase, in every process of the world alike; the first process writes the super-network."""
    config, world = job.config, current_world()
    space, sampled = config.space(), config.space(job.phase)
    seed = derive_seed(config.seed, job.phase)
    detector = build_detector(space.arch(space.largest()), len(dataset.class_names), seed=config.seed)
    step: LossStep = DetectionStep()
    if job.phase > 0:
        _load_into(detector, phase_path(job.folder, job.phase - 1))
        teacher = build_detector(detector.arch, detector.num_classes)
        _load_into(teacher, phase_path(job.folder, 0))
        if job.phase == 1:
            rank_channels(detector)
        step = ShrinkStep(sampled, teacher, config.distill, seed).to(device)
    recipe = config.phases[job.phase].train
    loader = TrainLoader(
        dataset, [Preprocess.imagenet(*size) for size in config.sizes], batch_size=config.batch_size,
        seed=derive_seed(config.seed, "pool", job.phase), augment="light", workers=job.workers, rank=world.rank,
        world=world.size,
    )  # fmt: skip
    checkpoint = job.folder / f"phase-{job.phase}.ckpt"
    if progress is not None:
        what = "the super-network" if job.phase == 0 else f"{sampled.count()} sub-networks"
        progress.start_step(f"teachers {job.phase + 1}/{len(config.phases)}: {what}", len(loader) * recipe.epochs)

    def show(at: Progress) -> None:
        assert progress is not None
        progress.advance_step(at.step, note=f"loss {at.loss:.2f}")

    train(
        detector, loader, step, recipe, device=device, seed=seed, checkpoint=checkpoint,
        report=show if progress is not None else None,
    )  # fmt: skip
    if world.is_first:
        _save(detector, phase_path(job.folder, job.phase))
        checkpoint.unlink(missing_ok=True)


def _finish(
    folder: Path,
    config: ElasticConfig,
    train_data: Dataset,
    val_data: Dataset,
    device: torch.device,
    progress: RunProgress,
) -> None:
    """Average precision of three members, then the manifest that makes the pool one."""
    path = phase_path(folder, len(config.phases) - 1)
    space = config.space()
    whole = build_detector(space.arch(space.largest()), len(train_data.class_names))
    _load_into(whole, path)
    weights = whole.state_dict()
    members = space.representatives()
    ap = {}
    progress.start_step("teachers: AP of three members", len(members))
    for number, member in enumerate(members):
        detector = extract_member(weights, config, member, train_data, device)
        ap[str(member)] = evaluate_teacher(detector, val_data, device)
        progress.advance_step(number + 1)
    listed = ", ".join(f"{name} AP {value:.3f}" for name, value in ap.items())
    progress.say(f"teacher pool {folder.name}: {space.count()} members; {listed}")
    manifest = {
        "schema": SCHEMA, "config": config.model_dump(mode="json"), "weights_sha256": hash_file(path), "ap": ap,
    } | name_data(train_data)  # fmt: skip
    _write_json(folder / MANIFEST, manifest)
    (folder / UNFINISHED).unlink(missing_ok=True)


def _load_into(detector: Detector, path: Path) -> None:
    try:
        detector.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise RunFailed(
            f"{path} is damaged ({type(error).__name__}); delete it and the phases after it to train them again"
        ) from error


def _save(detector: Detector, path: Path) -> None:
    weights = {name: tensor.contiguous().cpu() for name, tensor in detector.state_dict().items()}
    try:
        with replace_file(path) as aside:
            save_file(weights, aside)
    except SafetensorError as error:
        raise RunFailed(f"cannot write {path}: {error}; free some space, then start again") from error


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_file(path, (json.dumps(content, indent=2) + "\n").encode())
