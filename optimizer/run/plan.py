"""How long a run will take, from a timed training step: said before it starts, and what a budget is held against."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from deploy import TargetSpec
from optimizer.arch.spec import ArchSpec
from optimizer.config import UNLIMITED, RunConfig
from optimizer.data.splits import Splits
from optimizer.detectors import build_detector
from optimizer.detectors.base import Truth
from optimizer.errors import InputError
from optimizer.handover.variants import list_variants
from optimizer.progress import format_duration
from optimizer.run.budget import Counted, count_images
from optimizer.run.estimates import BUNDLE_S, CLASSES, OVERHEAD_S, Estimates
from optimizer.search.base import History, list_done
from optimizer.train.precision import autocast_dtype
from optimizer.trials.jobs import choose_device

__all__ = ["Plan", "find_step_s", "make_plan", "plan_run"]

SPARE = 1.1
SMOKE_STEP_S = 0.35


@dataclass(frozen=True)
class Plan:
    """Estimated seconds; none is a promise.

    Attributes:
        base_s: training and measuring the base. pool_s: training a teacher pool or a super-network, and what
            that needs besides; 0 without or where there is one.
        trial_s: one student. handover_s: what follows the search: fine-tuning, other exports, bundles and
            the final lease.
        variants: other exports that are tried of each model handed over.
        last_s: what of `handover_s` is for the last training, where a budget decides its length: that of a whole front
            fills whatever time is left, another takes its recipe's epochs at most. None where the recipe decides.
        exports_s: what of it is for other exports; one of them takes `export_s`.
        screen_s: what of `trial_s` goes before the student's own training.
        least_base_s: the least that the base takes, where its length is a matter of time.
        concludes: whether students are only looked at until all of them are trained at the end.
    """

    base_s: float
    trial_s: float
    handover_s: float
    trials: int
    budget_s: float | None
    pool_s: float = 0.0
    variants: int = 0
    last_s: float | None = None
    exports_s: float = 0.0
    export_s: float = 0.0
    screen_s: float = 0.0
    least_base_s: float | None = None
    concludes: bool = False

    def describe(self) -> str:
        pool = f", teachers {format_duration(self.pool_s)}" if self.pool_s else ""
        if self.trials >= UNLIMITED:
            return (
                f"plan: base about {format_duration(self.base_s)}{pool}, then students of about "
                f"{format_duration(self.trial_s)} while the budget of {format_duration(self.budget_s or 0)} lasts; of "
                f"it {format_duration(self.handover_s)} are for the last training and the bundles"
            )
        total = self.base_s + self.pool_s + self.trials * self.trial_s + self.handover_s
        text = (
            f"plan: base about {format_duration(self.base_s)}{pool}, then {self.trials} "
            f"student{'' if self.trials == 1 else 's'} of about {format_duration(self.trial_s)}, in all about "
            f"{format_duration(total)}"
        )
        if self.variants:
            text += f"; of these {format_duration(self.handover_s)} at the end, where each model of the front is tried "
            text += f"in up to {self.variants} other exports"
        if self.budget_s is not None and self.budget_s < total:
            text += f"; the budget of {format_duration(self.budget_s)} will end the search earlier"
        return text

    def check(self) -> None:
        """Refuse, before any work, a budget that does not even cover what is to be done for one student.

        What is made to fit a budget is not charged: other exports, the last training, a base beyond its first epochs.

        Raises:
            InputError: it does not.
        """
        base_s = self.base_s if self.least_base_s is None else self.least_base_s
        least = base_s + self.pool_s + self._bundles_s + (self.trial_s if self.trials else 0.0)
        if self.budget_s is not None and self.budget_s < least:
            parts = "base, teachers, student and hand-over" if self.pool_s else "base, student and hand-over"
            raise InputError(
                f"a budget of {format_duration(self.budget_s)} is too short for one student: by steps timed just now, "
                f"{parts} need about {format_duration(least)}; raise --budget, lower --epochs or --size, or try again "
                "when nothing else runs here"
            )

    @property
    def _bundles_s(self) -> float:
        """What of the hand-over is there whatever the budget: the final lease and the bundles."""
        return self.handover_s - self.exports_s - (self.last_s or 0.0)

    def has_time_for_trial(self, elapsed_s: float, history: History) -> bool:
        """Whether another student and the handover still fit, judged by the students so far.

        The first one comes before other exports and before a last training, which then take less.
        """
        if self.budget_s is None:
            return True
        spent = [trial.work.seconds for trial in list_done(history) if trial.number > 0][-3:]
        if not spent:
            owed_s = self.trials * (self.trial_s - self.screen_s) if self.concludes else self.trial_s
            return elapsed_s + SPARE * owed_s + self._bundles_s <= self.budget_s
        return elapsed_s + SPARE * (max(spent) + self.screen_s) + self.handover_s <= self.budget_s

    def count_rounds(self, elapsed_s: float) -> int:
        """How many students there is likely to be time for, at least one."""
        if self.budget_s is None:
            return max(self.trials, 1)
        left_s = self.budget_s - elapsed_s - self.handover_s
        return min(max(int(left_s / (SPARE * self.trial_s)), 1), max(self.trials, 1))

    def find_last_training_s(self, elapsed_s: float) -> float | None:
        """What is left of the budget for the last training, whether it fills that or not; None where its length is the
        recipe's.
        """
        if self.last_s is None or self.budget_s is None:
            return None
        return max((self.budget_s - elapsed_s - (self.handover_s - self.last_s)) / SPARE, 0.0)

    def has_time_for_export(self, elapsed_s: float) -> bool:
        """Whether one more of the other exports fits, besides the final lease and the bundles."""
        return self.budget_s is None or elapsed_s + SPARE * self.export_s + self._bundles_s <= self.budget_s


def plan_run(
    config: RunConfig,
    target: TargetSpec,
    splits: Splits | None,
    *,
    base_exists: bool,
    pool_exists: bool,
    teacher: ArchSpec | None = None,
    step_s: float | None = None,
) -> Plan:
    """`make_plan` for these images; None are images that are yet to be generated. Without `step_s` a step is timed."""
    if step_s is None:
        step_s = find_step_s(config, choose_device())
    counted = count_images(config, splits, pool_exists=pool_exists)
    variants = len(list_variants(config, target, config.base_arch()))
    return make_plan(
        config, counted.fit, step_s, base_exists=base_exists, pool_exists=pool_exists,
        variants=variants, val_images=counted.val, teacher=teacher, kept=counted.kept, pictures=counted.pictures,
    )  # fmt: skip


def make_plan(
    config: RunConfig,
    images: int,
    step_s: float,
    *,
    base_exists: bool = False,
    pool_exists: bool = False,
    variants: int = 0,
    val_images: int = 0,
    teacher: ArchSpec | None = None,
    kept: int = 0,
    pictures: int = 0,
) -> Plan:
    """Everything in proportion to a training step of the base, a step with a teacher or of a pool too.

    Where one student is distilled, the step is the student's, and the base is not trained.

    Args:
        images, val_images: how many there are to train and to validate on.
        step_s: seconds of such a step (`find_step_s`).
        variants: other exports that are tried of each model at the end.
        teacher: of all students, where it is known.
        kept: images that are kept out. pictures: those that the body of a super-network is pre-trained on.
    """
    of = Estimates(
        config, Counted(images, kept, val_images, pictures), step_s, pool_exists=pool_exists, variants=variants,
        teacher=teacher,
    )  # fmt: skip
    finetune_s = of.finetune_s if of.last_s is None else of.last_s
    return Plan(
        base_s=0.0 if base_exists else of.base_s,
        least_base_s=0.0 if base_exists and of.least_base_s is not None else of.least_base_s,
        pool_s=of.pool_s,
        trial_s=of.student_s + of.measure_s + OVERHEAD_S + of.screen_s,
        screen_s=of.screen_s,
        handover_s=of.handed_over * (of.final_s + BUNDLE_S) + 5 + of.exports_s + finetune_s,
        last_s=of.last_s,
        exports_s=of.exports_s,
        export_s=of.export_s,
        variants=variants,
        trials=config.search.trials,
        budget_s=config.budget_s,
        concludes=config.search.evolves,
    )


def find_step_s(config: RunConfig, device: torch.device) -> float:
    """Seconds of a training step of the base, or of the one student that is distilled.

    Timed on made-up images, except for a smoke run without a budget.
    """
    if config.budget_s is None and config.preset == "smoke":
        return SMOKE_STEP_S
    width, height = config.input_size
    detector = build_detector(config.trained_arch(), CLASSES, seed=0).to(device).train()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        images = torch.rand(config.batch_size, 3, height, width, device=device)
        box = torch.tensor([[width * 0.2, height * 0.2, width * 0.6, height * 0.6]], device=device)
        truths = [Truth(box, torch.zeros(1, dtype=torch.int64, device=device))] * config.batch_size
        dtype = autocast_dtype(config.base_train.precision, device)
        for _ in range(2):  # the first one pays for allocation and code loading
            started = time.monotonic()
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                loss = torch.stack(list(detector.losses(images, truths).values())).sum()
            loss.backward()
            loss.item()
            seconds = time.monotonic() - started
    return seconds
