"""Trainings as values: whatever process is handed one builds the same model, step and batches, and trains its share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator
from torch import Tensor

from deploy import Preprocess
from deploy.data import Dataset
from optimizer.arch.space import Space
from optimizer.arch.spec import ArchSpec
from optimizer.arch.subnets import Subnet, subnet_from_json
from optimizer.data.loader import TrainLoader
from optimizer.detectors import load_detector
from optimizer.detectors.base import Detector
from optimizer.detectors.tensors import fit_tensors, load_tensors
from optimizer.distill.config import DistillConfig
from optimizer.distill.step import DistillStep
from optimizer.store.values import SHA256
from optimizer.supernet.pool import TeacherPool
from optimizer.train.config import Freeze, TrainConfig
from optimizer.train.distributed import current_world
from optimizer.train.loop import Progress, TrainResult, train
from optimizer.train.state import TrainState
from optimizer.train.steps import DetectionStep, LossStep
from optimizer.trials.sliced_step import SlicedStep

__all__ = [
    "Batches", "PoolTeacher", "Slices", "StudentJob", "Teaching", "TrainedTeacher", "choose_device", "count_steps",
    "train_student",
]  # fmt: skip


def _read_arch(value: Any) -> ArchSpec:
    return value if isinstance(value, ArchSpec) else ArchSpec.from_json(value)


def _read_subnet(value: Any) -> Subnet:
    return subnet_from_json(value) if isinstance(value, dict) else value


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Batches(_Value):
    """Which images a training sees, and how.

    Attributes:
        data: folder of the training images.
        size: images per step, of all processes together.
        workers: processes that prepare them; None leaves it to the device.
        sizes: canvases, one of which is drawn for each step; empty is the student's own.
        keep_out: whether those images are left out that the run keeps to judge by (`optimizer.data.splits`).
    """

    data: Path
    size: int
    augment: str
    workers: int | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    keep_out: bool = False


class PoolTeacher(_Value):
    """A subnet of the teacher pool in a folder."""

    pool: Path
    subnet: Annotated[Subnet, PlainValidator(_read_subnet), PlainSerializer(lambda subnet: subnet.to_json())]


class TrainedTeacher(_Value):
    """A detector of the same classes, and the safetensors file of its weights, whatever that is called."""

    arch: Annotated[ArchSpec, PlainValidator(_read_arch), PlainSerializer(lambda arch: arch.to_json())]
    weights: Path

    def read_weights(self) -> dict[str, Tensor]:
        """The tensors of its file, which is not read where it is not what a SHA-256 as its name says.

        Raises:
            InputError: it is another file, or damaged.
        """
        return load_tensors(self.weights, self.weights.name if SHA256.match(self.weights.name) else None)


class Teaching(_Value):
    """Who teaches a student, and what."""

    teacher: PoolTeacher | TrainedTeacher
    distill: DistillConfig


class Slices(_Value):
    """Children of a base that are trained in its place in a share of its steps (`sliced_step`)."""

    share: float
    space: Space


class StudentJob(_Value):
    """Training of one student.

    Attributes:
        seed: of the training and of its batches.
        checkpoint: where the training is saved as it goes; a file system that all processes see.
        teaching: None is plain training.
        slices: None trains the whole network in every step.
        freeze: what of the student is not trained.
        start: file of weights and state to go on from; None starts anew from the detector's weights.
        first_epoch: number of the first one, where earlier trainings had those before.
    """

    kind: Literal["student"] = "student"
    arch: Annotated[ArchSpec, PlainValidator(_read_arch), PlainSerializer(lambda arch: arch.to_json())]
    recipe: TrainConfig
    batches: Batches
    seed: int
    checkpoint: Path
    teaching: Teaching | None = None
    slices: Slices | None = None
    freeze: Freeze = Freeze()
    start: Path | None = None
    first_epoch: int = 0


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
    state = None
    if job.start is not None:
        state, weights, _ = TrainState.load(job.start)
        fit_tensors(detector, weights, f"the weights in {job.start}")
    return train(
        detector.to(device), loader, _build_step(job, pool, detector.num_classes, device), job.recipe, seed=job.seed,
        checkpoint=job.checkpoint, report=report, freeze=job.freeze, start=state, first_epoch=job.first_epoch,
    )  # fmt: skip


def count_steps(job: StudentJob, dataset: Dataset) -> int:
    """Steps of an epoch."""
    return len(_build_loader(job, dataset))


def choose_device() -> torch.device:
    """The GPU of this process where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _build_loader(job: StudentJob, dataset: Dataset) -> TrainLoader:
    world = current_world()
    canvases = [Preprocess.imagenet(*size) for size in job.batches.sizes or (job.arch.input_size,)]
    return TrainLoader(
        dataset, canvases, batch_size=job.batches.size, seed=job.seed,
        augment=job.batches.augment, workers=job.batches.workers, share=(world.rank, world.size),
    )  # fmt: skip


def _build_step(job: StudentJob, pool: TeacherPool | None, num_classes: int, device: torch.device) -> LossStep:
    if job.slices is not None:
        assert job.teaching is None, "a base whose children are trained has no teacher"
        return SlicedStep(job.arch, job.slices.space, num_classes, job.slices.share, job.seed)
    if job.teaching is None:
        return DetectionStep()
    teacher, distill = job.teaching.teacher, job.teaching.distill
    canvas = job.arch.input_size if distill.teacher_canvas == "student" else None
    if isinstance(teacher, PoolTeacher):
        assert pool is not None, "a teacher without the pool it comes from"
        detector = pool.extract(teacher.subnet, device, canvas)
    else:
        arch = teacher.arch if canvas is None else teacher.arch.with_size(*canvas)
        detector = load_detector(arch, num_classes, teacher.read_weights())
    return DistillStep(job.arch, detector.to(device), distill).to(device)
