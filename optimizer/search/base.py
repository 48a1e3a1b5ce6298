"""The three words of a search: a strategy proposes, an evaluation makes a trial of it, the store records it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from optimizer.arch.edits import Action
from optimizer.arch.macs import Cost
from optimizer.arch.spec import ArchSpec
from optimizer.arch.subnets import Subnet
from optimizer.errors import DetoptError, InputError
from optimizer.search.latency import FurtherCost, LatencyFigures

__all__ = [
    "Concluding", "DoneTrial", "FailedTrial", "FrontStrategy", "History", "PendingTrial", "Proposal", "ScreenedTrial",
    "SearchStrategy", "SpaceExhausted", "Trial", "TrialFailed", "TrialFiles", "Work", "count_students", "get_done",
    "list_done", "list_screened",
]  # fmt: skip


class SpaceExhausted(DetoptError):
    """A strategy has nothing legal and new left to propose."""


class TrialFailed(DetoptError):
    """One student could not be trained or measured; the search goes on without it."""


@dataclass(frozen=True)
class Proposal:
    """What to try next.

    Attributes:
        parent: number of the trial whose trained weights are inherited; None for the base (trial 0) and for a student
            that is a subnet or a whole architecture.
        actions: edits of the parent's architecture, in order; none means "train the parent on".
        note: one phrase for people, e.g. why this parent was drawn.
        teacher: subnet of the teacher pool that teaches; None is training without a teacher.
        subnet: of the teacher pool, which the student is, instead of a child of a parent.
        finetune: whether the training is the longer one at the end of a run.
        epochs: of this training; None leaves it to the recipe, and 0 only screens the student (`ScreenedTrial`).
        aim: latency that the actions were chosen for, as a share of the base's, or the limit that a subnet was bred
            under (`Evolution.limits`); None where none was.
        arch: the whole architecture that the student is, instead of edits of a parent. It starts from published weights
            where the run names some that fit, else from random ones, and is trained as a base is.
        taught: the set of distillers that its teacher teaches it by, where the run chooses among sets.
    """

    parent: int | None
    actions: tuple[Action, ...] = ()
    note: str = ""
    teacher: Subnet | None = None
    subnet: Subnet | None = None
    finetune: bool = False
    epochs: int | None = None
    aim: float | None = None
    arch: ArchSpec | None = None
    taught: str | None = None

    @property
    def starts_anew(self) -> bool:
        """Whether the student inherits from no trial and no pool: the base, and a whole architecture."""
        return self.parent is None and self.subnet is None

    @property
    def screens(self) -> bool:
        """Whether the student is only looked at, with the weights it inherits."""
        return self.epochs == 0


@dataclass(frozen=True)
class PendingTrial:
    """A proposal that is recorded and not evaluated yet: a killed run repeats it."""

    status: ClassVar[Literal["pending"]] = "pending"
    number: int
    proposal: Proposal


@dataclass(frozen=True)
class FailedTrial:
    """A proposal that came to nothing; `error` says why."""

    status: ClassVar[Literal["failed"]] = "failed"
    number: int
    proposal: Proposal
    error: str


@dataclass(frozen=True)
class ScreenedTrial:
    """A student that was looked at without training: inherited weights, BatchNorm measured anew, nothing kept.

    Attributes:
        ap, ap50: COCO average precision by PyTorch, 0..1, on the training images that are kept out of training.
        seconds: that it took.
    """

    status: ClassVar[Literal["screened"]] = "screened"
    number: int
    proposal: Proposal
    arch: ArchSpec
    ap: float
    ap50: float
    counts: Cost
    seconds: float


@dataclass(frozen=True)
class TrialFiles:
    """What the artefact store holds of a trial.

    Attributes:
        weights: SHA-256 of the trained weights.
        model: SHA-256 of the exported ONNX file.
        head: kind of that model's outputs (a name in `deploy.pipeline.heads`).
        selection: JSON of `deploy.Selection`; None where the graph itself selects objects.
        state: SHA-256 of what the training left besides the weights, for children; None where that is not kept.
        model_bytes: size of that ONNX file; None in runs that began before it was kept.
        dropped: whether all of them were removed, because nothing needed them and the disk was wanted for others
            (`optimizer.run.storage`). Such a trial is no parent and no candidate of a front any more.
    """

    weights: str
    model: str
    head: str = "detections"
    selection: Mapping[str, float] | None = None
    state: str | None = None
    model_bytes: int | None = None
    dropped: bool = False


@dataclass(frozen=True)
class Work:
    """What it took to make a student.

    Attributes:
        epochs_total: epochs of training along the whole lineage, the base's included.
        seconds: of the whole evaluation; `seconds_by_part`: of its parts, by name.
        curve: (step, total loss) points of this trial's training.
        judged: (epochs, AP on the images kept out) of a base that is trained until it stops gaining.
        still_gaining: whether it had not stopped when its time was up, so that its scores flatter students.
        changes: what distinguishes the student from its parent, in words.
    """

    epochs_total: float
    seconds: float
    curve: tuple[tuple[int, float], ...] = ()
    changes: tuple[str, ...] = ()
    seconds_by_part: Mapping[str, float] = field(default_factory=dict)
    judged: tuple[tuple[int, float], ...] = ()
    still_gaining: bool = False


@dataclass(frozen=True)
class DoneTrial:
    """An evaluated proposal.

    Attributes:
        number: 0 is the base.
        arch: the architecture that the actions led to.
        ap, ap50: COCO average precision of the exported artefact on the validation images, 0..1.
        counts: parameters and operations.
        cost_ratio: cost of the base divided by cost of this student, on latency measured in one lease, or on MACs.
        score: objective of (ap / base ap, cost_ratio); the base scores 1, and 0 where it detects nothing.
        latency: measured latency record as JSON (see deploy.LatencyRecord); None in runs that score by operations.
        elsewhere: what it costs on the run's further targets, by name.
    """

    status: ClassVar[Literal["done"]] = "done"
    number: int
    proposal: Proposal
    arch: ArchSpec
    ap: float
    ap50: float
    counts: Cost
    cost_ratio: float
    score: float
    latency: Mapping[str, Any] | None
    files: TrialFiles
    work: Work
    elsewhere: Mapping[str, FurtherCost] = field(default_factory=dict)

    @property
    def figures(self) -> LatencyFigures | None:
        """Of the latency, for readers."""
        return LatencyFigures.from_record(self.latency) if self.latency is not None else None


Trial: TypeAlias = PendingTrial | FailedTrial | ScreenedTrial | DoneTrial
History: TypeAlias = Sequence[Trial]


def list_done(history: History) -> list[DoneTrial]:
    """The trials that were trained and measured."""
    return [trial for trial in history if isinstance(trial, DoneTrial)]


def list_screened(history: History) -> list[ScreenedTrial]:
    """The trials that were looked at without training."""
    return [trial for trial in history if isinstance(trial, ScreenedTrial)]


def count_students(history: History) -> int:
    """How many were tried; the base, what is pending and what is only screened, failed or not, is left aside."""
    tried = [trial for trial in history if trial.number > 0 and not isinstance(trial, PendingTrial)]
    return sum(not trial.proposal.screens for trial in tried)


def get_done(history: History, number: int) -> DoneTrial:
    """The trial of this number, which is there and done; an `InputError` in a run that is damaged."""
    for trial in list_done(history):
        if trial.number == number:
            return trial
    raise InputError(f"the run is damaged: it has no finished trial {number}, and needs it")


@runtime_checkable
class FrontStrategy(Protocol):
    """A strategy that aims at a whole front, and goes on from its fast end."""

    def ask_faster(self, history: History, rng: Random, steps: int) -> Proposal | None:
        """A child of the fastest student to look at, so many steps faster; None where there is none to be had."""
        ...


@runtime_checkable
class Concluding(Protocol):
    """A strategy whose students are only looked at until the end: what remains to be trained when time is up."""

    def conclude(self, history: History) -> Proposal | None:
        """The next student to train however late it is; None where all that were promised are trained."""
        ...


class SearchStrategy(Protocol):
    """A frozen dataclass of hyper-parameters; all state is in the history."""

    def ask(self, history: History, rng: Random) -> Proposal:
        """The next proposal; pure in (history, rng). Trial 0 (the base) is done when this is first called.

        Raises:
            SpaceExhausted: nothing legal is left to propose within the attempt limit.
        """
        ...
