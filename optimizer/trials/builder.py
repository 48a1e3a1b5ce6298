"""Networks to be trained: the base or another whole architecture, a child of an earlier student, a pool's member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from optimizer.arch.edits import Edit
from optimizer.arch.families import find_family
from optimizer.arch.spec import ArchSpec
from optimizer.arch.subnets import Subnet
from optimizer.config import RunConfig
from optimizer.detectors import build_detector, load_detector
from optimizer.detectors.base import Detector
from optimizer.detectors.converted import load_converted
from optimizer.detectors.pretrained import choose_pretrained
from optimizer.detectors.tensors import fit_tensors, load_tensors
from optimizer.detectors.weights import load_pretrained, load_weights
from optimizer.morph import morph
from optimizer.origins import ORIGINS
from optimizer.progress import RunProgress
from optimizer.search.base import DoneTrial, Proposal
from optimizer.seeds import derive_seed
from optimizer.store.artefacts import ArtefactStore
from optimizer.supernet.pool import TeacherPool
from optimizer.train.state import TrainState
from optimizer.trials.continuity import carry_over, without_adapters
from optimizer.trials.study import Studies

__all__ = ["Builder", "Student"]


@dataclass(frozen=True)
class Student:
    """A network about to be trained, and how it came to be.

    Attributes:
        state: of its parent's training, for its own to go on from.
    """

    detector: Detector
    arch: ArchSpec
    changes: tuple[str, ...]
    epochs_before: float
    state: TrainState | None = None


@dataclass(frozen=True)
class Builder:
    """Makes the network of a proposal.

    Attributes:
        artefacts: where the weights of earlier students are.
        studies: what is known of earlier students before they are edited.
        pool: where members are taken from; None in runs without one.
    """

    config: RunConfig
    class_names: Sequence[str]
    artefacts: ArtefactStore
    device: torch.device
    progress: RunProgress
    studies: Studies
    pool: TeacherPool | None = None

    def build(self, number: int, proposal: Proposal, parent: DoneTrial | None) -> Student:
        """The network, untrained or with the weights it inherits.

        Raises:
            IllegalAction: an action of the proposal is not possible on its parent.
        """
        if parent is not None:
            return self._build_child(number, proposal, parent)
        if proposal.subnet is not None:
            return self._build_member(proposal.subnet)
        return self._build_anew(number, proposal.arch or self.config.base_arch())

    def load(self, trial: DoneTrial, arch: ArchSpec | None = None) -> Detector:
        """The trained detector of a finished trial, ready to detect; `arch` is another one that takes its weights."""
        detector = build_detector(arch or trial.arch, len(self.class_names))
        path = self.artefacts.find(trial, "weights")
        fit_tensors(detector, load_tensors(path, trial.files.weights), f"the weights of trial {trial.number}")
        return detector.eval()

    def _build_anew(self, number: int, arch: ArchSpec) -> Student:
        seed = self.config.seed if number == 0 else derive_seed(self.config.seed, "fresh", number)
        detector = build_detector(arch, len(self.class_names), seed=seed)
        start = self._start(detector)
        if start:
            self.progress.say(start)
        return Student(detector, arch, (start,) if start else (), 0.0)

    def _start(self, detector: Detector) -> str:
        """Fill a detector with the weights the run names, and say what was taken; nothing where none are wanted."""
        weights = self.config.weights
        if weights is None:
            return ""
        if isinstance(weights, Path) and self.config.weights_from is not None:
            origin = ORIGINS[self.config.weights_from]
            report = load_converted(detector, weights, origin, self.class_names)
            return f"weights from {weights.name}, of {origin.title}: {report}"
        if isinstance(weights, Path):
            return f"weights from {weights.name}: {load_weights(detector, weights)}"
        family = find_family(detector.arch.body) or "its body"
        entry = choose_pretrained(weights, family, detector.arch.head.name)
        if entry is None:
            return f"random weights: torchvision has none that fit {family}"
        report = load_pretrained(detector, entry, self.class_names)
        return f"weights of {entry.dataset} from {entry.path.name}: {report}"

    def _build_member(self, subnet: Subnet) -> Student:
        assert self.pool is not None, "a student from the pool in a run without one"
        detector = self.pool.extract(subnet, self.device)
        changes = (f"member {subnet} of the teacher pool",)
        return Student(detector, detector.arch, changes, float(self.pool.config.epochs))

    def _build_child(self, number: int, proposal: Proposal, parent: DoneTrial) -> Student:
        study = self.studies(parent, edited=bool(proposal.actions))
        child = morph(study.weights, parent.arch, proposal.actions, study.ranked_by, study.moments)
        changes = _describe_changes(parent.arch, child.arch, child.edits)
        if not self.config.search.inherit and proposal.actions:  # one that is only trained further is the same student
            seed = derive_seed(self.config.seed, "fresh", number)
            detector = build_detector(child.arch, len(self.class_names), seed=seed)
            return Student(detector, child.arch, (*changes, "weights not inherited"), 0.0)
        detector = load_detector(child.arch, len(self.class_names), child.weights)
        state = None
        is_trained = not proposal.screens
        if is_trained and self.config.carries_state and parent.files.state is not None:
            left = TrainState.load(self.artefacts.path(parent.files.state, verify=True)).state
            state = carry_over(left, study.weights, child.edits, study.ranked_by)
            before = parent.proposal
            if (proposal.teacher, proposal.taught) != (before.teacher, before.taught):
                state = without_adapters(state)
        return Student(detector, child.arch, changes, parent.work.epochs_total, state)


def _describe_changes(parent: ArchSpec, child: ArchSpec, edits: Sequence[Edit]) -> tuple[str, ...]:
    """What a morph did, in words a person reads in the lineage."""
    changes = []
    if parent.input_size != child.input_size:
        changes.append("canvas {}x{} to {}x{}".format(*parent.input_size, *child.input_size))
    if parent.body.depths != child.body.depths:
        changes.append(f"depths {list(parent.body.depths)} to {list(child.body.depths)}")
    before, after = (sum(sum(block.widths) for _, _, block in arch.body.blocks()) for arch in (parent, child))
    if parent.body.depths == child.body.depths and before != after:
        changes.append(f"backbone channels {before} to {after}")
    if parent.body.depths == child.body.depths and before == after and parent.body != child.body:
        changes.append(f"blocks {parent.body.encode()} to {child.body.encode()}")
    new = [layer for edit in edits for layer in edit.list_new_layers()]
    if new:
        changes.append(f"starting anew: {', '.join(new)}")
    for name, width in parent.outer_widths.items():
        if child.outer_widths[name] != width:
            changes.append(f"{name} width {width} to {child.outer_widths[name]}")
    proposals = parent.head.region_proposals, child.head.region_proposals
    if proposals[0] != proposals[1]:
        changes.append(f"region proposals {proposals[0]} to {proposals[1]}")
    return tuple(changes)
