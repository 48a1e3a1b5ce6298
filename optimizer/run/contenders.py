"""Who may have the last training, and how many epochs each gets of the time there is. Pure functions of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.search.base import DoneTrial, ScreenedTrial
from optimizer.search.members import select_points

__all__ = ["LEAST_EPOCHS", "Contender", "fit_last_training", "share_epochs"]

LEAST_EPOCHS = 2  # of a last training; of fewer its rate has no time to fall
FIXED_SHARE = 0.3  # of an epoch's time, that does not fall with operations
LOSS = 0.15  # ln(AP of parent / AP of child) per ln(latency saved), after training


@dataclass(frozen=True)
class Contender:
    """Who may have the last training.

    Attributes:
        number: of its trial. point: AP and latency, as a share of the base's; of a child, what is expected of it.
        epoch_s: seconds of an epoch. extra_s: of what is done besides, once.
    """

    number: int
    point: tuple[float, float]
    epoch_s: float
    extra_s: float = 0.0

    @staticmethod
    def of_student(trial: DoneTrial, usual_epochs: int) -> Contender:
        """`usual_epochs` is what a student was trained for whose proposal does not say."""
        parts = trial.work.seconds_by_part
        epochs = trial.proposal.epochs or (usual_epochs if trial.number else trial.work.epochs_total)
        epoch_s = parts.get("train", 0.0) / max(epochs, 1)
        extra_s = parts.get("export", 0.0) + parts.get("evaluate", 0.0)  # it was measured before
        return Contender(trial.number, (trial.ap, 1 / trial.cost_ratio), epoch_s, extra_s)

    @staticmethod
    def of_child(
        child: ScreenedTrial, parent: DoneTrial, usual_epochs: int, slowest: ScreenedTrial | None = None
    ) -> Contender:
        """A child that was only looked at, expected to lack what it lacks beside the slowest child by the looks."""
        assert child.proposal.aim is not None
        ap, latency = parent.ap, 1 / parent.cost_ratio
        share = FIXED_SHARE + (1 - FIXED_SHARE) * child.counts.macs / parent.counts.macs
        like = Contender.of_student(parent, usual_epochs)
        extra_s = like.extra_s + parent.work.seconds_by_part.get("measure", 0.0) + child.seconds
        expected = ap * min(child.proposal.aim / latency, 1.0) ** LOSS
        if slowest is not None and slowest.ap:
            expected *= min(child.ap / slowest.ap, 1.0)
        return Contender(child.number, (expected, child.proposal.aim), like.epoch_s * share, extra_s)


def fit_last_training(
    contenders: Sequence[Contender], count: int, left_s: float, growth: float = 1.0
) -> list[Contender]:
    """Whom the last training is for, so that all of them end within `left_s`.

    An epoch takes `growth` times as long as the contenders say. At most `count` that span the front; fewer, down to
    one, where each would get less than two epochs, and none where one would get less than one.
    """
    for fewer in range(count, 0, -1):
        chosen = [contenders[index] for index in select_points([of.point for of in contenders], fewer)]
        least = LEAST_EPOCHS if fewer > 1 else 1
        if sum(of.extra_s + least * growth * of.epoch_s for of in chosen) <= left_s:
            return chosen
    return []


def share_epochs(waiting: Sequence[Contender], left_s: float, growth: float = 1.0) -> int:
    """How many epochs the next of these gets: its share, rounded where others can make up for it; at least one."""
    epoch_s = growth * sum(of.epoch_s for of in waiting)
    if not epoch_s:
        return LEAST_EPOCHS
    share = (left_s - sum(of.extra_s for of in waiting)) / epoch_s
    return max(round(share) if len(waiting) > 1 else int(share), 1)
