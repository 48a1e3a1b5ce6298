"""Training of one student, by whichever recipe its proposal asks for, alone or in a team of processes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from deploy import Preprocess
from deploy.data import Dataset
from deploy.evaluate import evaluate_detections
from optimizer.config import RunConfig
from optimizer.data.splits import Splits
from optimizer.distill.sets import choose_terms
from optimizer.progress import RunProgress
from optimizer.search.base import Proposal
from optimizer.seeds import derive_seed
from optimizer.supernet.pool import TeacherPool
from optimizer.track.base import name_run
from optimizer.train.config import TrainConfig
from optimizer.train.loop import TrainResult
from optimizer.train.predict import predict
from optimizer.train.state import TrainState
from optimizer.trials.base_training import BaseTraining, choose_stretch
from optimizer.trials.builder import Student
from optimizer.trials.jobs import (
    Batches,
    PoolTeacher,
    Slices,
    StudentJob,
    Teaching,
    TrainedTeacher,
    count_steps,
    train_student,
)
from optimizer.trials.team import tell_team

__all__ = ["Trained", "Trainer", "name_trial"]


@dataclass(frozen=True)
class Trained:
    """What a training left behind, besides the weights.

    Attributes:
        curve: (step, loss). epochs: that it took.
        judged, still_gaining: as in `Work`.
        state: for children to go on from; None where they do not.
    """

    curve: tuple[tuple[int, float], ...]
    epochs: float
    judged: tuple[tuple[int, float], ...] = ()
    still_gaining: bool = False
    state: TrainState | None = None


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
        recipe, images = self.choose_recipe(proposal), self.choose_images(proposal)
        job = self._make_job(number, proposal, student, recipe)

        def train(job: StudentJob, text: str = "train") -> TrainResult:
            steps = count_steps(job, images)
            self.progress.start_training(
                f"{name_trial(number)}: {text}", job.recipe.epochs * steps, name_run(number),
                before=job.first_epoch * steps,
            )  # fmt: skip
            tell_team(job)
            return train_student(job, student.detector, images, self.pool, self.device, self.progress.advance_training)

        if proposal.starts_anew and self.config.base_epochs == "auto":
            return self._train_out(
                name_trial(number),
                proposal,
                job,
                student,
                lambda job: train(job, f"train from epoch {job.first_epoch + 1} on"),
            )
        result = train(job)
        return Trained(result.curve, recipe.epochs, state=self._choose_state(proposal, result.state))

    def _train_out(
        self,
        name: str,
        proposal: Proposal,
        job: StudentJob,
        student: Student,
        train: Callable[[StudentJob], TrainResult],
    ) -> Trained:
        """The base, or one that is trained like it, until it stops gaining."""
        kept, steps = self.splits.kept, count_steps(job, self.splits.fit)
        budget_s = self.config.budget_s
        training = BaseTraining(
            job, steps, choose_stretch(steps, len(self.splits.fit.records), len(kept.records)),
            math.inf if budget_s is None else self.config.base_share * budget_s,
        )  # fmt: skip

        def judge() -> float:
            self.progress.note(f"AP on {len(kept.records)} kept images")
            found = predict(student.detector, kept.records, Preprocess.imagenet(*job.arch.input_size), self.device)
            ap = evaluate_detections(kept, found).ap
            self.progress.judge_training(ap)
            return ap

        reached, state = training.run(student.detector, train, judge, lambda text: self.progress.say(f"{name}: {text}"))
        if reached.still_gaining:
            flattered = ", so students' scores will flatter them" if job.teaching is None else ""
            self.progress.say(f"{name}: it was still gaining when its time was up{flattered}")
        return Trained(reached.curve, reached.epochs, reached.judged, bool(reached.still_gaining),
            self._choose_state(proposal, state),
        )  # fmt: skip

    def _choose_state(self, proposal: Proposal, state: TrainState) -> TrainState | None:
        """What is kept of a training: all of it for children, and the adapters of one student for its analysis."""
        if self.config.carries_state and not proposal.finetune:
            return state
        return TrainState(step=state.step) if self.config.search.student is not None and state.step else None

    def choose_recipe(self, proposal: Proposal) -> TrainConfig:
        """The base's, which is that of whole architectures too; a student's; or that of the fine-tuning at the end."""
        changes: dict[str, object] = {} if proposal.epochs is None else {"epochs": proposal.epochs}
        if proposal.starts_anew:
            return self.config.base_train.model_copy(update=changes)
        is_last = proposal.finetune or (proposal.subnet is not None and self.config.search.evolves)
        recipe = self.config.finetune if is_last else self.config.trial_train
        assert recipe is not None, "a training at the end that no recipe describes"
        if self.config.carries_state and not proposal.finetune:
            changes["schedule"] = "constant"
        return recipe.model_copy(update=changes)

    def choose_images(self, proposal: Proposal) -> Dataset:
        """All training images at the end, and until then without those that are kept out."""
        return self.splits.train if proposal.finetune else self.splits.fit

    def forget(self, number: int) -> None:
        """Remove what a recorded trial no longer needs."""
        for path in self.scratch.glob(f"trial-{number}.*"):
            path.unlink(missing_ok=True)

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
                sizes=self._choose_sizes(number),
                keep_out=config.keeps_images and not proposal.finetune,
            ),
            seed=derive_seed(config.seed, number),
            checkpoint=self._checkpoint(number),
            teaching=self._find_teaching(number, proposal),
            slices=self._choose_slices(number),
            freeze=config.freeze,
            start=self._write_start(number, student),
        )

    def _write_start(self, number: int, student: Student) -> Path | None:
        """What the training goes on from, for all processes of a team."""
        if student.state is None:
            return None
        path = self.scratch / f"trial-{number}.start"
        student.state.save(path, student.detector.state_dict(), flushed=False)
        return path

    def _choose_sizes(self, number: int) -> tuple[tuple[int, int], ...]:
        """For a base whose students are judged untrained: all canvases of the search, any of which may be one's."""
        space = self.config.search.space
        return space.sizes if number == 0 and self.config.keeps_images and "resize" in space.actions else ()

    def _choose_slices(self, number: int) -> Slices | None:
        search = self.config.search
        return Slices(share=search.elastic, space=search.space) if number == 0 and search.elastic else None

    def _find_teaching(self, number: int, proposal: Proposal) -> Teaching | None:
        distill = choose_terms(self.config.distill, proposal.taught)
        if distill is None:
            return None
        if proposal.teacher is not None:
            assert self.pool is not None, "a teacher in a run without a pool"
            by = PoolTeacher(pool=self.pool.folder, subnet=proposal.teacher)
            return Teaching(teacher=by, distill=distill)
        if self.teacher is None or number == 0:
            return None
        return Teaching(teacher=self.teacher, distill=distill)

    def _checkpoint(self, number: int) -> Path:
        return self.scratch / f"trial-{number}.ckpt"


def name_trial(number: int) -> str:
    """What a person reads: "base" or "trial 3"."""
    return "base" if number == 0 else f"trial {number}"
