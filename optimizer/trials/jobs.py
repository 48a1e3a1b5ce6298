"""Trainings as values: whatever process is handed one builds the same model, step and batches, and trains its share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict

from deploy import Preprocess
from deploy.data import Dataset
from optimizer.arch.spec import ArchSpec
from optimizer.arch.subnets import subnet_from_json
from optimizer.data.loader import TrainLoader
from optimizer.detectors.base import Detector
from optimizer.distill.config import DistillConfig
from optimizer.distill.step import DistillStep
from optimizer.supernet.pool import TeacherPool
from optimizer.train.config import TrainConfig
from optimizer.train.distributed import current_world
from optimizer.train.loop import Progress, TrainResult, train
from optimizer.train.steps import DetectionStep, LossStep

__all__ = ["StudentJob", "choose_device", "count_steps", "train_student"]


class StudentJob(BaseModel):
    """Training of one student.

    Attributes:
        arch: JSON of the student's `ArchSpec`.
        teacher: JSON of the teacher's `Subnet`; None is plain training.
        seed: of the training and of its batches.
        batch_size: images a step, of all processes together.
        checkpoint: where the training is saved as it goes; a file system that all processes see.
        data: folder of the training images.
        pool: folder of the teacher pool.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["student"] = "student"
    arch: dict[str, Any]
    teacher: dict[str, Any] | None
    recipe: TrainConfig
    distill: DistillConfig
    seed: int
    batch_size: int
    augment: str
    workers: int
    checkpoint: Path
    data: Path
    pool: Path | None


def train_student(
    job: StudentJob,
    detector: Detector,
    dataset: Dataset,
    pool: TeacherPool | None,
    device: torch.device,
    report: Callable[[Progress], None] | None = None,
) -> TrainResult:
    """Train `detector` in place, in every process of the world alike."""
    loader = _build_loader(job, dataset)
    return train(
        detector, loader, _build_step(job, pool, device), job.recipe, device=device, seed=job.seed,
        checkpoint=job.checkpoint, report=report,
    )  # fmt: skip


def count_steps(job: StudentJob, dataset: Dataset) -> int:
    """Steps of the whole training."""
    return len(_build_loader(job, dataset)) * job.recipe.epochs


def choose_device() -> torch.device:
    """The GPU of this process where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _build_loader(job: StudentJob, dataset: Dataset) -> TrainLoader:
    world = current_world()
    return TrainLoader(
        dataset,
        Preprocess.imagenet(*ArchSpec.from_json(job.arch).input_size),
        batch_size=job.batch_size,
        seed=job.seed,
        augment=job.augment,
        workers=job.workers,
        rank=world.rank,
        world=world.size,
    )


def _build_step(job: StudentJob, pool: TeacherPool | None, device: torch.device) -> LossStep:
    if job.teacher is None:
        return DetectionStep()
    assert pool is not None, "a teacher without a pool it comes from"
    student = ArchSpec.from_json(job.arch)
    canvas = student.input_size if job.distill.teacher_canvas == "student" else None
    teacher = pool.extract(subnet_from_json(job.teacher), device, canvas)
    return DistillStep(student, teacher, job.distill).to(device)
