"""`--epochs auto`: a base is trained until it stops gaining, or its share of the budget is used; then it cools down.

It is one training in stretches of an epoch or a few. Each stretch is a training of its own that goes on from the state
the one before left, at a constant rate with a moving average, and ends with the average precision on images kept out.
The last stretch cools down: the rate falls to zero. After each stretch all there is to know is in one file, so that a
training that was killed comes to the same end.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import nn

from optimizer.detectors.tensors import fit_tensors
from optimizer.errors import RunFailed
from optimizer.seeds import derive_seed
from optimizer.train.checkpoint import FLUSHED_AFTER_S
from optimizer.train.config import TrainConfig
from optimizer.train.loop import TrainResult
from optimizer.train.plateau import is_gaining
from optimizer.train.state import StateDamaged, TrainState
from optimizer.trials.jobs import StudentJob

__all__ = ["BaseTraining", "Standing", "choose_stretch"]

log = logging.getLogger("detopt")

FIRST = 4  # epochs of the first stretch, or more; the rate warms up over a tenth of it
COOL_DOWN = 0.25  # epochs of it, in epochs before it
JUDGING_SHARE = 0.15  # of the time, at most
JUDGED_IMAGE = 0.4  # time of judging an image, in that of training on it once
STRETCH_STEPS = 16  # at least, so that little time goes by between stretches


@dataclass(frozen=True)
class Standing:
    """How far the base's training is.

    Attributes:
        judged: (epochs, average precision on the kept images) after each stretch.
        curve: (step, mean loss) of each stretch.
        seconds: spent on it, over all processes that worked at it.
        still_gaining: whether it had not stopped gaining when it began to cool down; None before that.
        cooled: whether it has cooled down, which ends it.
    """

    epochs: int = 0
    judged: tuple[tuple[int, float], ...] = ()
    curve: tuple[tuple[int, float], ...] = ()
    seconds: float = 0.0
    still_gaining: bool | None = None
    cooled: bool = False

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Standing:
        pairs = {name: tuple((int(at), float(y)) for at, y in value[name]) for name in ("judged", "curve")}
        return cls(**{**value, **pairs})


@dataclass(frozen=True)
class BaseTraining:
    """The base's training, in stretches.

    Attributes:
        job: of all stretches; its epochs are the most it may take, and its checkpoint names the files.
        steps: in an epoch. stretch: epochs of a stretch.
        limit_s: seconds it may take; infinite without a budget.
    """

    job: StudentJob
    steps: int
    stretch: int
    limit_s: float

    @property
    def path(self) -> Path:
        """Where weights, state and standing are kept after each stretch."""
        return self.job.checkpoint.with_suffix(".state")

    def run(
        self, model: nn.Module, train: Callable[[StudentJob], TrainResult], judge: Callable[[], float],
        say: Callable[[str], None] = lambda text: None,
    ) -> tuple[Standing, TrainState]:  # fmt: skip
        """Train the model from wherever an earlier process left it.

        Args:
            train: trains the model by a job. judge: its average precision on the kept images, as it is then.
        """
        standing, state = self._resume(model)
        while not standing.cooled:
            started = time.monotonic()
            if standing.epochs and standing.still_gaining is None:
                standing = self._decide(standing)
            job = self._next_job(standing)
            result = train(job)
            state = result.state
            standing = self._advance(standing, job, result, judge(), time.monotonic() - started)
            flushed = standing.seconds >= FLUSHED_AFTER_S
            state.save(self.path, model.state_dict(), json.dumps(asdict(standing)), flushed=flushed)
            self._checkpoint(job.first_epoch).unlink(missing_ok=True)
            say(f"AP {standing.judged[-1][1]:.3f} on the kept images after {standing.epochs} epochs")
        return standing, state

    def _resume(self, model: nn.Module) -> tuple[Standing, TrainState]:
        if not self.path.exists():
            return Standing(), TrainState()
        try:
            saved = TrainState.load(self.path)
        except StateDamaged:
            log.warning("the state %s is damaged, as by a power cut: this training starts over", self.path)
            return Standing(), TrainState()
        fit_tensors(model, saved.weights, f"the weights in {self.path}")
        try:
            return Standing.from_json(json.loads(saved.notes)), saved.state
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise RunFailed(f"{self.path} cannot be read ({type(error).__name__}); delete it to start over") from error

    def _decide(self, standing: Standing) -> Standing:
        """Whether the next stretch is the last one: it has stopped gaining, or another one would leave no time."""
        gaining = is_gaining([ap for _, ap in standing.judged])
        longer = standing.epochs + self.stretch
        at_end = longer + _cool_down(longer)
        is_in_time = standing.seconds / standing.epochs * at_end <= self.limit_s
        if gaining and at_end <= self.job.recipe.epochs and is_in_time:
            return standing
        return replace(standing, still_gaining=gaining)

    def _next_job(self, standing: Standing) -> StudentJob:
        recipe, first = self.job.recipe, standing.epochs
        if standing.still_gaining is None:
            first_epochs = min(max(FIRST, self.stretch), max(int(recipe.epochs / (1 + COOL_DOWN)), 1))
            epochs = self.stretch if first else first_epochs
            changes: dict[str, object] = {"epochs": epochs, "schedule": "constant"}
        else:
            changes = {"epochs": _cool_down(first), "schedule": "linear"}
        changes["ema_decay"] = recipe.ema_decay or choose_decay(self.steps)
        if first:
            changes["warmup_steps"] = 0
        return self.job.model_copy(update={
            "recipe": TrainConfig.model_validate({**recipe.model_dump(), **changes}),
            "seed": self.job.seed if not first else derive_seed(self.job.seed, first),
            "first_epoch": first,
            "start": self.path if first else None,
            "checkpoint": self._checkpoint(first),
        })  # fmt: skip

    def _advance(self, standing: Standing, job: StudentJob, result: TrainResult, ap: float, seconds: float) -> Standing:
        epochs = standing.epochs + job.recipe.epochs
        loss = fmean(value for _, value in result.curve) if result.curve else math.nan
        return replace(
            standing,
            epochs=epochs,
            judged=(*standing.judged, (epochs, ap)),
            curve=(*standing.curve, (epochs * self.steps, loss)) if result.curve else standing.curve,
            seconds=standing.seconds + seconds,
            cooled=standing.still_gaining is not None,
        )

    def _checkpoint(self, first_epoch: int) -> Path:
        return self.job.checkpoint.with_suffix(f".{first_epoch}.ckpt")


def choose_stretch(steps: int, images: int, kept: int) -> int:
    """Epochs between two judgements, of so many steps and images each, so that judging takes a small part."""
    for_judging = JUDGED_IMAGE * kept * (1 - JUDGING_SHARE) / (JUDGING_SHARE * images)
    return max(math.ceil(for_judging), math.ceil(STRETCH_STEPS / steps), 1)


def choose_decay(steps: int) -> float:
    """Of a moving average over about an epoch."""
    return 1 - 1 / min(max(steps, 20), 1000)


def _cool_down(epochs: int) -> int:
    return max(math.ceil(COOL_DOWN * epochs), 1)
