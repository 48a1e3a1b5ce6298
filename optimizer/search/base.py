"""The three words of a search: a strategy proposes, an evaluation makes a trial of it, the store records it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from optimizer.arch.actions import Action
from optimizer.arch.pool import Subnet
from optimizer.arch.spec import ArchSpec
from optimizer.errors import DetoptError

__all__ = ["History", "Proposal", "SearchStrategy", "SpaceExhausted", "Trial", "TrialFailed"]


class SpaceExhausted(DetoptError):
    """A strategy has nothing legal and new left to propose."""


class TrialFailed(DetoptError):
    """One student could not be trained or measured; the search goes on without it."""


@dataclass(frozen=True)
class Proposal:
    """What to try next.

    Attributes:
        parent: number of the trial whose trained weights are inherited; None for the base (trial 0) and for a student
            that is taken from the teacher pool.
        actions: edits of the parent's architecture, in order; none means "train the parent on".
        note: one phrase for people, e.g. why this parent was drawn.
        teacher: member of the teacher pool that teaches; None is training without a teacher.
        subnet: member of the teacher pool that the student is, instead of a child of a parent.
        finetune: whether the training is the longer one at the end of a run.
    """

    parent: int | None
    actions: tuple[Action, ...] = ()
    note: str = ""
    teacher: Subnet | None = None
    subnet: Subnet | None = None
    finetune: bool = False


@dataclass(frozen=True)
class Trial:
    """An evaluated proposal, as it is recorded; ``status`` says whether the figures are there.

    Attributes:
        number: 0 is the base.
        status: "done", "failed" (see error) or "pending" (proposed, not finished).
        arch: the architecture the actions came to (None if that itself failed).
        ap, ap50: COCO average precision of the exported artefact on the validation images, 0..1.
        cost_ratio: cost of the base divided by cost of this student, on latency measured in one lease, or on MACs.
        score: objective of (ap / base ap, cost_ratio); the base scores 1.
        latency: measured latency record as JSON (see deploy.LatencyRecord), or None when MACs are the cost.
        weights: SHA-256 of the trained weights in the artefact store.
        model: SHA-256 of the exported ONNX file in the artefact store.
        epochs_total: epochs of training along the whole lineage, the base's included.
        curve: (step, total loss) points of this trial's training.
    """

    number: int
    proposal: Proposal
    status: str = "pending"
    arch: ArchSpec | None = None
    ap: float | None = None
    ap50: float | None = None
    macs: int | None = None
    flops_mmdet: int | None = None
    params: int | None = None
    cost_ratio: float | None = None
    score: float | None = None
    latency: dict[str, Any] | None = None
    weights: str | None = None
    model: str | None = None
    epochs_total: float = 0.0
    seconds: float = 0.0
    curve: tuple[tuple[int, float], ...] = ()
    error: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


History = Sequence[Trial]


class SearchStrategy(Protocol):
    """A frozen dataclass of hyper-parameters; all state is in the history."""

    def ask(self, history: History, rng: Random) -> Proposal:
        """The next proposal; pure in (history, rng). Trial 0 (the base) is done when this is first called.

        Raises:
            SpaceExhausted: nothing legal is left to propose within the attempt limit.
        """
        ...
