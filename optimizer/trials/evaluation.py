"""Proposal to trial: build or inherit, train, export, measure. The search is handed an `Evaluation` and calls it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from deploy import ModelSource, Preprocess, Selection, get_target, parse_selection
from deploy.data import Dataset
from deploy.errors import BoardError, DeployError, InputError
from deploy.evaluate import evaluate_artefact
from deploy.targets import Target
from optimizer.arch.edits import IllegalAction
from optimizer.arch.macs import count
from optimizer.arch.spec import ArchSpec
from optimizer.arch.subnets import Subnet
from optimizer.config import RunConfig
from optimizer.cost.base import Candidate, CostMeter
from optimizer.cost.latency import LatencyCost
from optimizer.cost.macs import MacsCost
from optimizer.detectors import build_detector
from optimizer.detectors.base import Detector
from optimizer.detectors.weights import load_weights
from optimizer.errors import RunFailed
from optimizer.morph import morph
from optimizer.progress import RunProgress
from optimizer.search.base import DoneTrial, History, Proposal, TrialFailed, TrialFiles, Work, get_done
from optimizer.search.objective import OBJECTIVES
from optimizer.seeds import derive_seed
from optimizer.store.artefacts import ArtefactStore
from optimizer.supernet.pool import TeacherPool
from optimizer.train.config import TrainConfig
from optimizer.train.loop import Progress, TrainingDiverged, TrainResult
from optimizer.trials.export import export_model
from optimizer.trials.jobs import Batches, StudentJob, Teaching, count_steps, train_student
from optimizer.trials.team import tell_team

__all__ = ["Evaluation", "build_meter"]

MEASURING_IMAGES = 64


def build_meter(
    config: RunConfig, target: Target, dataset: Dataset, level: str, report: Callable[[str], None]
) -> CostMeter:
    """What students are scored by: latency on the target at a level of rigour, or operations."""
    if config.search.cost == "macs":
        return MacsCost()
    images = tuple(record.path for record in dataset.records[:MEASURING_IMAGES])
    return LatencyCost(target, images, level, report)


@dataclass(frozen=True)
class Student:
    """A network about to be trained, and how it came to be."""

    detector: Detector
    arch: ArchSpec
    changes: tuple[str, ...]
    epochs_before: float


class _Clock:
    """Seconds of each part of an evaluation, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def tick(self, name: str) -> None:
        """What passed since the last tick belongs to `name`."""
        now = time.monotonic()
        self.seconds[name], self._last = now - self._last, now


@dataclass(frozen=True)
class Evaluation:
    """Turns proposals into trials; a value that holds what every trial needs.

    Attributes:
        history: the trials recorded so far, read anew at every call.
        scratch: folder for the checkpoint of the current training and for a model before it is stored.
        pool: where teachers come from; None where no proposal has one.
    """

    config: RunConfig
    train_data: Dataset
    val_data: Dataset
    artefacts: ArtefactStore
    history: Callable[[], History]
    target: Target
    meter: CostMeter
    scratch: Path
    device: torch.device
    progress: RunProgress
    pool: TeacherPool | None = None

    def __call__(self, number: int, proposal: Proposal) -> DoneTrial:
        """The finished trial.

        Raises:
            TrialFailed: the student cannot be trained, exported or measured; the search can go on without it.
            RunFailed: nothing can go on, for example because the disk is full or the base itself failed.
            BoardError: the board is gone; the trial can be evaluated when it is back.
        """
        try:
            return self._evaluate(number, proposal)
        except (InputError, BoardError):  # the next student would fare no better
            raise
        except (TrainingDiverged, IllegalAction, DeployError) as error:
            raise (RunFailed if number == 0 else TrialFailed)(str(error)) from error
        except (OSError, SafetensorError) as error:
            raise RunFailed(f"cannot write in {self.scratch}: {error}; free some space, then resume the run") from error

    @property
    def judge(self) -> Target:
        """Where AP is found: on the target, by its engine; a search by MACs asks nothing of the target."""
        return self.target if self.config.search.cost == "latency" else get_target("cpu")

    def _evaluate(self, number: int, proposal: Proposal) -> DoneTrial:
        clock = _Clock()
        history = self.history()
        parent = None if proposal.parent is None else get_done(history, proposal.parent)
        base = None if number == 0 else get_done(history, 0)
        student = self._build(number, proposal, parent)
        clock.tick("build")
        recipe = self._choose_recipe(number, proposal)
        result = self._train(number, student, recipe, proposal.teacher)
        clock.tick("train")

        self.progress.start_step(f"{_name(number)}: export and measure", 3)
        model, exported = self._store_model(number, student)
        clock.tick("export")
        self.progress.advance_step(1)
        candidate = self._make_candidate(model, student.arch, exported.head, exported.selection)
        exported = replace(exported, model=candidate.model)
        assert exported.head is not None
        precision, _ = evaluate_artefact(
            exported, self.val_data.class_names, self.val_data, self.judge, self.progress.note
        )
        clock.tick("evaluate")
        self.progress.advance_step(2)
        measured = self.meter.measure(candidate, self.candidate(base) if base is not None else candidate)
        clock.tick("measure")
        self.progress.advance_step(3)
        base_ap = base.ap if base is not None else precision.ap
        weights = self._store_weights(number, student.detector)
        clock.tick("store")
        objective, search = OBJECTIVES[self.config.search.objective], self.config.search
        return DoneTrial(
            number=number,
            proposal=proposal,
            arch=student.arch,
            ap=precision.ap,
            ap50=precision.ap50,
            counts=candidate.cost,
            cost_ratio=measured.ratio,
            score=objective(precision.ap / base_ap, measured.ratio, self.config.alpha, search.beta) if base_ap else 0.0,
            latency=measured.latency,
            files=TrialFiles(
                weights, model, exported.head, exported.selection.to_json() if exported.selection is not None else None
            ),
            work=Work(
                epochs_total=student.epochs_before + recipe.epochs,
                seconds=sum(clock.seconds.values()),
                curve=result.curve,
                changes=student.changes,
                seconds_by_part=clock.seconds,
            ),
        )

    def candidate(self, trial: DoneTrial) -> Candidate:
        """A finished trial as a cost meter takes it."""
        files = trial.files
        return self._make_candidate(files.model, trial.arch, files.head, parse_selection(files.selection))

    def load_detector(self, trial: DoneTrial) -> Detector:
        """The trained detector of a finished trial, ready to detect."""
        detector = build_detector(trial.arch, len(self.train_data.class_names))
        detector.load_state_dict(load_file(self.artefacts.path(trial.files.weights, verify=True)))
        return detector.eval()

    def _build(self, number: int, proposal: Proposal, parent: DoneTrial | None) -> Student:
        if parent is not None:
            return self._build_child(number, proposal, parent)
        return self._build_base() if proposal.subnet is None else self._build_member(proposal.subnet)

    def _choose_recipe(self, number: int, proposal: Proposal) -> TrainConfig:
        if number == 0:
            return self.config.base_train
        if not proposal.finetune:
            return self.config.trial_train
        assert self.config.finetune is not None
        return self.config.finetune

    def _build_member(self, subnet: Subnet) -> Student:
        assert self.pool is not None, "a student from the pool in a run without one"
        detector = self.pool.extract(subnet, self.device)
        return Student(
            detector, detector.arch, (f"member {subnet} of the teacher pool",), float(self.pool.config.epochs)
        )

    def _build_base(self) -> Student:
        arch = self.config.base_arch()
        detector = build_detector(arch, len(self.train_data.class_names), seed=self.config.seed)
        changes: tuple[str, ...] = ()
        if self.config.weights is not None:
            report = load_weights(detector, self.config.weights)
            changes = (f"weights from {self.config.weights.name}: {report}",)
            self.progress.say(changes[0])
        return Student(detector, arch, changes, 0.0)

    def _build_child(self, number: int, proposal: Proposal, parent: DoneTrial) -> Student:
        weights: dict[str, Tensor] = load_file(self.artefacts.path(parent.files.weights, verify=True))
        child = morph(weights, parent.arch, proposal.actions)
        changes = _describe_changes(parent.arch, child.arch)
        num_classes = len(self.train_data.class_names)
        if not self.config.search.inherit and proposal.actions:  # one that only trains on is still the same student
            detector = build_detector(child.arch, num_classes, seed=derive_seed(self.config.seed, "fresh", number))
            return Student(detector, child.arch, (*changes, "weights not inherited"), 0.0)
        detector = build_detector(child.arch, num_classes)
        detector.load_state_dict(child.weights)
        return Student(detector, child.arch, changes, parent.work.epochs_total)

    def _train(self, number: int, student: Student, recipe: TrainConfig, teacher: Subnet | None) -> TrainResult:
        config = self.config
        data = config.data or self.scratch.parent / "data"
        job = StudentJob(
            arch=student.arch,
            recipe=recipe,
            batches=Batches(data=data, size=config.batch_size, augment=config.augment, workers=config.workers),
            seed=derive_seed(config.seed, number),
            checkpoint=self._checkpoint(number),
            teaching=self._find_teaching(teacher),
        )
        self.progress.start_step(f"{_name(number)}: train", count_steps(job, self.train_data))

        def show(progress: Progress) -> None:
            self.progress.advance_step(progress.step, note=f"loss {progress.loss:.2f}")

        tell_team(job)
        return train_student(job, student.detector, self.train_data, self.pool, self.device, show)

    def _find_teaching(self, teacher: Subnet | None) -> Teaching | None:
        if teacher is None:
            return None
        assert self.pool is not None, "a teacher in a run without a pool"
        return Teaching(pool=self.pool.folder, teacher=teacher, distill=self.config.distill)

    def _make_candidate(self, model: str, arch: ArchSpec, head: str | None, selection: Selection | None) -> Candidate:
        cost = count(arch, len(self.train_data.class_names))
        return Candidate(self.artefacts.path(model), Preprocess.imagenet(*arch.input_size), cost, head, selection)

    def _store_model(self, number: int, student: Student) -> tuple[str, ModelSource]:
        path = self.scratch / f"trial-{number}.onnx"
        exported = export_model(student.detector, student.arch, path, self.target.spec)
        sha256 = self.artefacts.put_file(path)
        path.unlink()
        return sha256, exported

    def _store_weights(self, number: int, detector: Detector) -> str:
        path = self.scratch / f"trial-{number}.safetensors"
        save_file({name: value.contiguous().cpu() for name, value in detector.state_dict().items()}, path)
        sha256 = self.artefacts.put_file(path)
        path.unlink()
        return sha256

    def forget(self, number: int) -> None:
        """Remove what a recorded trial no longer needs."""
        self._checkpoint(number).unlink(missing_ok=True)

    def _checkpoint(self, number: int) -> Path:
        return self.scratch / f"trial-{number}.ckpt"


def _name(number: int) -> str:
    return "base" if number == 0 else f"trial {number}"


def _describe_changes(parent: ArchSpec, child: ArchSpec) -> tuple[str, ...]:
    """What a morph did, in words a person reads in the lineage."""
    changes = []
    if parent.input_size != child.input_size:
        changes.append("canvas {}x{} to {}x{}".format(*parent.input_size, *child.input_size))
    if parent.body.depths != child.body.depths:
        changes.append(f"depths {list(parent.body.depths)} to {list(child.body.depths)}")
    before, after = (sum(sum(block.widths) for _, _, block in arch.body.blocks()) for arch in (parent, child))
    if parent.body.depths == child.body.depths and before != after:
        changes.append(f"backbone channels {before} to {after}")
    for name, width in parent.outer_widths.items():
        if child.outer_widths[name] != width:
            changes.append(f"{name} width {width} to {child.outer_widths[name]}")
    proposals = parent.head.region_proposals, child.head.region_proposals
    if proposals[0] != proposals[1]:
        changes.append(f"region proposals {proposals[0]} to {proposals[1]}")
    return tuple(changes)
