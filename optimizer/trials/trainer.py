"""Training of one student, by whichever recipe its proposal asks for, alone or in a team of processes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from deploy.data import Dataset
from optimizer.arch.subnets import Subnet
from optimizer.config import RunConfig
from optimizer.data.splits import Splits
from optimizer.progress import RunProgress
from optimizer.search.base import Proposal
from optimizer.seeds import derive_seed
from optimizer.supernet.pool import TeacherPool
from optimizer.train.config import TrainConfig
from optimizer.train.loop import Progress
from optimizer.trials.builder import Student
from optimizer.trials.jobs import Batches, PoolTeacher, StudentJob, Teaching, TrainedTeacher, count_steps, train_student
from optimizer.trials.team import tell_team

__all__ = ["Trained", "Trainer", "name_trial"]


@dataclass(frozen=True)
class Trained:
    """What a training left behind, besides the weights: its loss over its steps, and how many epochs it took."""

    curve: tuple[tuple[int, float], ...]
    epochs: float


@dataclass(frozen=True)
class Trainer:
    """Trains students.

    Attributes:
        splits: the images. folder: where they are, for the other processes of a team.
        scratch: folder of the checkpoint of the current training.
        pool: where teachers come from; None in runs without one.
        teacher: of every student that no subnet of the pool teaches; None leaves those without.
    """

    config: RunConfig
    splits: Splits
    folder: Path
    scratch: Path
    device: torch.device
    progress: RunProgress
    pool: TeacherPool | None = None
    teacher: TrainedTeacher | None = None

    def train(self, number: int, proposal: Proposal, student: Student) -> Trained:
        """Train the student's detector in place; a training that was killed goes on at its checkpoint.

        Raises:
            TrainingDiverged: the loss stayed without a finite value.
        """
        recipe, images = self.choose_recipe(number, proposal), self.choose_images(proposal)
        job = self._make_job(number, proposal, student, recipe)
        self.progress.start_step(f"{name_trial(number)}: train", count_steps(job, images))

        def show(progress: Progress) -> None:
            self.progress.advance_step(progress.step, note=f"loss {progress.loss:.2f}")

        tell_team(job)
        result = train_student(job, student.detector, images, self.pool, self.device, show)
        return Trained(result.curve, recipe.epochs)

    def choose_recipe(self, number: int, proposal: Proposal) -> TrainConfig:
        """The base's, a student's, or that of the fine-tuning at the end."""
        if number == 0:
            return self.config.base_train
        if not proposal.finetune:
            return self.config.trial_train
        assert self.config.finetune is not None
        return self.config.finetune

    def choose_images(self, proposal: Proposal) -> Dataset:
        """All training images at the end, and until then without those that are kept out."""
        return self.splits.train if proposal.finetune else self.splits.fit

    def forget(self, number: int) -> None:
        """Remove what a recorded trial no longer needs."""
        self._checkpoint(number).unlink(missing_ok=True)

    def _make_job(self, number: int, proposal: Proposal, student: Student, recipe: TrainConfig) -> StudentJob:
        config = self.config
        return StudentJob(
            arch=student.arch,
            recipe=recipe,
            batches=Batches(
                data=self.folder,
                size=config.batch_size,
                augment=config.augment,
                workers=config.workers,
                keep_out=config.keeps_images and not proposal.finetune,
            ),
            seed=derive_seed(config.seed, number),
            checkpoint=self._checkpoint(number),
            teaching=self._find_teaching(number, proposal.teacher),
            freeze=config.freeze,
        )

    def _find_teaching(self, number: int, subnet: Subnet | None) -> Teaching | None:
        if subnet is not None:
            assert self.pool is not None, "a teacher in a run without a pool"
            return Teaching(teacher=PoolTeacher(pool=self.pool.folder, subnet=subnet), distill=self.config.distill)
        if self.teacher is None or number == 0:
            return None
        return Teaching(teacher=self.teacher, distill=self.config.distill)

    def _checkpoint(self, number: int) -> Path:
        return self.scratch / f"trial-{number}.ckpt"


def name_trial(number: int) -> str:
    """What a person reads: "base" or "trial 3"."""
    return "base" if number == 0 else f"trial {number}"
