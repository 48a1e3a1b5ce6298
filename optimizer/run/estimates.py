"""What each part of a run takes, in proportion to a timed training step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

from deploy.measuring.protocols import PROTOCOLS, get_protocol
from optimizer.arch.macs import count
from optimizer.arch.spec import ArchSpec
from optimizer.config import RunConfig
from optimizer.run.budget import FORWARD_SHARE, LOOK_S, WIDE_SHARE, Counted, Durations, find_durations
from optimizer.trials.screener import CALIBRATION_IMAGES
from optimizer.trials.study import count_studied

__all__ = ["BUNDLE_S", "CLASSES", "OVERHEAD_S", "Estimates", "find_teacher_share"]

LAST_SHARE = 0.35  # of a budget, for the last training
EXPORTS_SHARE = 0.15  # of a budget, at most, for other exports
STUDY_SHARE = 2.0  # studying a parent, of training it on as many images
LEAST_BASE_EPOCHS = 5  # of a base that is trained until it stops gaining
HANDED_OVER = 4  # models a front is reckoned with before it is known; a teacher and one student are 2
CLASSES = 3  # of made-up images
TEACHER_SHARE = 1.4  # time of a step with a teacher of a pool, in steps without one
DISTILLING_SHARE = 0.05  # of a step, what comparing with a teacher takes besides the teacher's pass
PASSES = 3  # forward through a network that a step of it is worth
VARIANT_S = 10.0  # making one other export, without passing images through it
EVALUATED = 3  # times the validation images pass through a model for it: the gate, its source, itself
CALIBRATED = 64  # images that ranges are found on
EVALUATE_SHARE = 0.4  # an image through an exported model, in a training step's time for an image
OVERHEAD_S = 10.0  # of a training: building, exporting, evaluating
BUNDLE_S = 3.0  # writing one


@dataclass(frozen=True)
class Estimates:
    """Seconds; everything in proportion to a training step of the base, a step with a teacher or of a pool too.

    Where one student is distilled, the step is the student's, and the base is not trained.

    Attributes:
        step_s: seconds of such a step. pool_exists: whether teachers or a super-network need no training.
        variants: other exports that are tried of each model at the end.
        teacher: of all students, where it is known.
    """

    config: RunConfig
    counted: Counted
    step_s: float
    pool_exists: bool = False
    variants: int = 0
    teacher: ArchSpec | None = None

    @property
    def base_s(self) -> float:
        trained_s = self._first_training_s if self._is_searched else 0.0
        return trained_s + self.measure_s + OVERHEAD_S

    @property
    def least_base_s(self) -> float | None:
        """Of a base that is trained until it stops gaining, within a budget; None of others."""
        if self.config.budget_s is None or self.config.base_epochs != "auto" or not self._is_searched:
            return None
        return self._epoch_s * LEAST_BASE_EPOCHS + self.measure_s + OVERHEAD_S

    @property
    def pool_s(self) -> float:
        """Training a teacher pool or a super-network, pre-training its body, and judging paths for its filter.

        0 without or where there is one.
        """
        config, pool_s = self.config, 0.0
        if config.needs_pool and not self.pool_exists:
            pool = config.pool_config()
            steps = max(self.counted.fit // pool.batch_size, 1) * pool.epochs
            pool_s = steps * self.step_s * WIDE_SHARE * pool.batch_size / config.batch_size + OVERHEAD_S
        if self._breeds:
            before = config.pool_config().pretrained_on
            pool_s += self._durations.pretraining * (before.train.epochs if before is not None else 0)
            pool_s += self._durations.judging
        return pool_s

    @property
    def student_s(self) -> float:
        """Training one student."""
        if self._breeds:
            assert self.config.finetune is not None
            return self._durations.last * self.config.finetune.epochs * self._taught
        if not self._is_searched:
            return self._first_training_s
        return self._epoch_s * self.config.trial_train.epochs * self._taught

    @property
    def screen_s(self) -> float:
        """What goes before a student's own training: looks at untrained ones, and studying their parent."""
        search = self.config.search
        if search.aims:
            image_s = self.step_s / self.config.batch_size
            seen = min(CALIBRATION_IMAGES, self.counted.fit) + self.counted.kept
            look_s = LOOK_S + seen * image_s * FORWARD_SHARE
            return search.screened * look_s + count_studied(self.counted.fit) * image_s * STUDY_SHARE
        if not self._breeds or self.config.ranks_alone:
            return 0.0
        return self._durations.look * prod(self.config.generations)

    @property
    def finetune_s(self) -> float:
        """The last training of the best, by the recipe's epochs; methods that breed subnets have no other."""
        config = self.config
        if config.finetune is None or config.search.evolves:
            return 0.0
        epochs_s = self._epoch_s * self._taught * config.finetune.epochs
        return config.search.finetuned * (epochs_s + self.measure_s + OVERHEAD_S)

    @property
    def last_s(self) -> float | None:
        """The last training, where a budget decides its length: its share of the budget, which the last training of a
        whole front fills, and another takes by its recipe's epochs at most."""
        search, budget_s = self.config.search, self.config.budget_s
        if not search.finetuned or search.evolves or budget_s is None:
            return None
        share_s = LAST_SHARE * budget_s
        return share_s if search.aims else min(self.finetune_s, share_s)

    @property
    def measure_s(self) -> float:
        """A student and the base, on one target after the other, at worst."""
        protocol = get_protocol(self.config.search_protocol, also=tuple(self.config.asked_of_target))
        return self._leases * 2 * (protocol.warm_up_cap_s / 2 + protocol.cap_s + protocol.energy_s)

    @property
    def final_s(self) -> float:
        """The final lease, a model."""
        return self._leases * self._one_final_s

    @property
    def export_s(self) -> float:
        """Making, evaluating and measuring one other export."""
        passes = EVALUATED * self.counted.val + CALIBRATED
        return VARIANT_S + passes * EVALUATE_SHARE * self.step_s / self.config.batch_size + self._one_final_s

    @property
    def exports_s(self) -> float:
        """All other exports, as many as a budget leaves."""
        exports_s, budget_s = self.handed_over * self.variants * self.export_s, self.config.budget_s
        return exports_s if budget_s is None else min(exports_s, EXPORTS_SHARE * budget_s)

    @property
    def handed_over(self) -> int:
        return HANDED_OVER if self._is_searched else 2

    @property
    def _is_searched(self) -> bool:
        return self.config.search.student is None

    @property
    def _breeds(self) -> bool:
        return self.config.search.evolves and self.config.needs_pool

    @property
    def _epoch_s(self) -> float:
        return self.step_s * max(self.counted.fit // self.config.batch_size, 1)

    @property
    def _first_training_s(self) -> float:
        """Of the base, or of the one student that is distilled."""
        config = self.config
        trained_s = self._epoch_s * config.base_train.epochs * (1.0 if self._is_searched else self._taught)
        if config.base_epochs == "auto" and config.budget_s is not None:
            return min(trained_s, config.base_share * config.budget_s)
        return trained_s

    @property
    def _taught(self) -> float:
        """A step with the teacher, in steps without one."""
        if self.teacher is not None:
            return find_teacher_share(self.config, self.teacher)
        return 1.0 if self.config.search.teacher == "none" else TEACHER_SHARE

    @property
    def _leases(self) -> int:
        return len(self.config.targets) if self.config.search.cost_kind.is_measured else 0

    @property
    def _one_final_s(self) -> float:
        final = PROTOCOLS[self.config.final_protocol]
        return min(self._leases, 1) * final.processes * (final.warm_up_cap_s / 2 + final.cap_s)

    @cached_property
    def _durations(self) -> Durations:
        return find_durations(self.config, self.counted, self.step_s, pool_exists=self.pool_exists)


def find_teacher_share(config: RunConfig, teacher: ArchSpec) -> float:
    """Time of a step with this teacher, in steps without one, by operations."""
    student = config.trained_arch()
    shown = teacher.with_size(*student.input_size) if config.distill.teacher_canvas == "student" else teacher
    return 1 + DISTILLING_SHARE + count(shown, CLASSES).macs / (PASSES * count(student, CLASSES).macs)
