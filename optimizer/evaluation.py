"""Proposal to trial: build or inherit, train, export, measure. The search is handed an `Evaluation` and calls it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from deploy import Preprocess
from deploy.data import Dataset
from optimizer.arch.macs import count
from optimizer.arch.spec import ArchSpec
from optimizer.config import RunConfig
from optimizer.cost.base import Candidate, CostMeter
from optimizer.data.loader import TrainLoader
from optimizer.detectors import build_detector
from optimizer.detectors.base import Detector
from optimizer.detectors.weights import load_weights
from optimizer.errors import RunFailed
from optimizer.export import evaluate_model, export_model
from optimizer.morph import morph
from optimizer.progress import RunProgress
from optimizer.search.base import History, Proposal, Trial
from optimizer.search.objective import OBJECTIVES
from optimizer.seeds import derive_seed
from optimizer.store.artefacts import ArtefactStore
from optimizer.train.config import TrainConfig
from optimizer.train.loop import Progress, TrainResult, train
from optimizer.train.steps import DetectionStep

__all__ = ["Evaluation", "choose_device"]

log = logging.getLogger("detopt")


def choose_device() -> torch.device:
    """The first GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Student:
    """A network about to be trained, and how it came to be."""

    detector: Detector
    arch: ArchSpec
    changes: tuple[str, ...]
    epochs_before: float


@dataclass(frozen=True)
class Evaluation:
    """Turns proposals into trials; a value that holds what every trial needs.

    Attributes:
        history: the trials recorded so far, read anew at every call.
        scratch: folder for the checkpoint of the training in hand and for a model before it is stored.
        proposals: where the loss step comes from; another regime (distillation) is another step, not another loop.
    """

    config: RunConfig
    train_data: Dataset
    val_data: Dataset
    artefacts: ArtefactStore
    history: Callable[[], History]
    meter: CostMeter
    scratch: Path
    device: torch.device
    progress: RunProgress

    def __call__(self, number: int, proposal: Proposal) -> Trial:
        """The finished trial. Raises `RunFailed` (and its kin) where the student cannot be trained or measured."""
        started = time.monotonic()
        trials = {trial.number: trial for trial in self.history()}
        student = self._build_base() if proposal.parent is None else self._build_child(proposal, trials[proposal.parent])
        recipe = self.config.base_train if proposal.parent is None else self.config.trial_train
        result = self._train(number, student, recipe)

        self.progress.start_step(f"{_name(number)}: export and measure", 3)
        exported = self.scratch / f"trial-{number}.onnx"
        export_model(student.detector, student.arch, exported)
        self.progress.advance_step(1)
        preprocess = Preprocess.imagenet(*student.arch.input_size)
        precision = evaluate_model(exported, preprocess, self.val_data)
        self.progress.advance_step(2)
        cost = count(student.arch, len(self.train_data.class_names))
        candidate = Candidate(exported, preprocess, cost)
        base = candidate if number == 0 else self._base_candidate(trials[0])
        measured = self.meter.measure(candidate, base)
        self.progress.advance_step(3)
        base_ap = precision.ap if number == 0 else trials[0].ap
        objective = OBJECTIVES[self.config.search.objective]
        trial = Trial(
            number=number,
            proposal=proposal,
            status="done",
            arch=student.arch,
            ap=precision.ap,
            ap50=precision.ap50,
            macs=cost.macs,
            flops_mmdet=cost.flops_mmdet,
            params=cost.params,
            cost_ratio=measured.ratio,
            score=objective(
                precision.ap / base_ap, measured.ratio, alpha=self.config.search.alpha, beta=self.config.search.beta
            )
            if base_ap
            else None,
            latency=measured.latency,
            weights=self._store_weights(number, student.detector),
            model=self.artefacts.put_file(exported),
            epochs_total=student.epochs_before + recipe.epochs,
            seconds=time.monotonic() - started,
            curve=result.curve,
            details={"changes": list(student.changes), "skipped_batches": result.skipped_batches, **measured.details},
        )
        exported.unlink(missing_ok=True)
        self._checkpoint(number).unlink(missing_ok=True)
        return trial

    def load_detector(self, trial: Trial) -> Detector:
        """The trained detector of a finished trial, ready to detect."""
        assert trial.arch is not None and trial.weights is not None
        detector = build_detector(trial.arch, len(self.train_data.class_names))
        detector.load_state_dict(load_file(self.artefacts.path(trial.weights)))
        return detector.eval()

    def _build_base(self) -> Student:
        arch = self.config.base_arch()
        detector = build_detector(arch, len(self.train_data.class_names), seed=self.config.seed)
        changes: tuple[str, ...] = ()
        if self.config.weights is not None:
            report = load_weights(detector, self.config.weights)
            changes = (f"weights from {self.config.weights.name}: {report}",)
            self.progress.say(changes[0])
        return Student(detector, arch, changes, 0.0)

    def _build_child(self, proposal: Proposal, parent: Trial) -> Student:
        assert parent.arch is not None and parent.weights is not None
        weights: dict[str, Tensor] = load_file(self.artefacts.path(parent.weights))
        child = morph(weights, parent.arch, proposal.actions)
        detector = build_detector(child.arch, len(self.train_data.class_names))
        detector.load_state_dict(child.weights)
        return Student(detector, child.arch, _describe_changes(parent.arch, child.arch), parent.epochs_total)

    def _train(self, number: int, student: Student, recipe: TrainConfig) -> TrainResult:
        loader = TrainLoader(
            self.train_data,
            Preprocess.imagenet(*student.arch.input_size),
            batch_size=self.config.batch_size,
            seed=derive_seed(self.config.seed, number),
            augment=self.config.augment,
            workers=self.config.workers,
        )
        self.progress.start_step(f"{_name(number)}: train", len(loader) * recipe.epochs)

        def show(progress: Progress) -> None:
            self.progress.advance_step(progress.step, note=f"loss {progress.loss:.2f}")

        return train(
            student.detector,
            loader,
            DetectionStep(),
            recipe,
            device=self.device,
            seed=derive_seed(self.config.seed, number),
            checkpoint=self._checkpoint(number),
            report=show,
        )

    def _base_candidate(self, base: Trial) -> Candidate:
        assert base.arch is not None and base.model is not None
        return Candidate(
            self.artefacts.path(base.model),
            Preprocess.imagenet(*base.arch.input_size),
            count(base.arch, len(self.train_data.class_names)),
        )

    def _store_weights(self, number: int, detector: Detector) -> str:
        path = self.scratch / f"trial-{number}.safetensors"
        save_file({name: value.contiguous().cpu() for name, value in detector.state_dict().items()}, path)
        sha256 = self.artefacts.put_file(path)
        path.unlink(missing_ok=True)
        return sha256

    def _checkpoint(self, number: int) -> Path:
        return self.scratch / f"trial-{number}.ckpt"


def _name(number: int) -> str:
    return "base" if number == 0 else f"trial {number}"


def _describe_changes(parent: ArchSpec, child: ArchSpec) -> tuple[str, ...]:
    """What a morph did, in words a person reads in the lineage."""
    changes = []
    if parent.input_size != child.input_size:
        changes.append("canvas {}x{} to {}x{}".format(*parent.input_size, *child.input_size))
    if parent.depths != child.depths:
        changes.append(f"depths {list(parent.depths)} to {list(child.depths)}")
    before, after = (sum(sum(block.widths) for _, _, block in arch.blocks()) for arch in (parent, child))
    if parent.depths == child.depths and before != after:
        changes.append(f"backbone channels {before} to {after}")
    if parent.head != child.head:
        changes.append(f"head {parent.head} to {child.head}")
    return tuple(changes)
