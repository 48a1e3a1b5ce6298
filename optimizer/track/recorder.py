"""What a search tells its trackers: nothing twice, and nothing more once one fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from optimizer.track.base import SEARCH, Outcome, Parameter, Tracker, Training

__all__ = ["UNTRACKED", "Recorder", "Recorders"]

log = logging.getLogger("detopt")

POINTS = 200  # of a training, at most


class Recorder:
    """One tracker of a search. Whatever it raises is said once, and ends the tracking, not the search.

    Figures that are told again, by a search that was resumed, are left out: a series has one point for each step.
    """

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self.name = name
        self._say = say
        self._tracker: Tracker | None = None
        self._steps: dict[str, dict[str, int]] = {}  # of the runs that were told something here

    @property
    def works(self) -> bool:
        return self._tracker is not None

    def open(self, kind: type[Tracker], folder: Path, identity: str, begun: bool) -> None:
        """Begin, as `Tracker.open`."""
        try:
            self._tracker = kind.open(folder, identity, begun)
            self._say(f"tracked: {self._tracker.hint}")
        except Exception as error:
            self._give_up(error)

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """A point of each of these series that has none at this step or a later one."""

        def tell(tracker: Tracker) -> None:
            known = self._find_steps(tracker, run)
            new = {name: value for name, value in values.items() if step > known.get(name, -1)}
            if new:
                tracker.log(run, step, new)
                known.update(dict.fromkeys(new, step))

        self._attempt(tell)

    def describe(self, run: str, parameters: Mapping[str, Parameter], results: Mapping[str, float]) -> None:
        """What a run is of and what came of it, unless its results are there already."""

        def tell(tracker: Tracker) -> None:
            known = self._find_steps(tracker, run)
            if not results or not results.keys() <= known.keys():
                tracker.describe(run, parameters, results)
                known.update(dict.fromkeys(results, 0))

        self._attempt(tell)

    def write(self, run: str, step: int, name: str, text: str) -> None:
        """A text in Markdown, unless there is one of this name at this step or a later one."""

        def tell(tracker: Tracker) -> None:
            known = self._find_steps(tracker, run)
            if step > known.get(name, -1):
                tracker.write(run, step, name, text)
                known[name] = step

        self._attempt(tell)

    def keep(self, files: Mapping[str, Path]) -> None:
        """Files and folders of the search, by their names."""
        self._attempt(lambda tracker: tracker.keep(files))

    def end(self, run: str, outcome: Outcome) -> None:
        """Nothing more will be told of this run."""

        def tell(tracker: Tracker) -> None:
            tracker.end(run, outcome)
            self._steps.pop(run, None)

        self._attempt(tell)

    def close(self, outcome: Outcome) -> None:
        """End what is not ended, the search last."""
        for run in [*(run for run in self._steps if run != SEARCH), SEARCH]:
            self.end(run, outcome)

    def _find_steps(self, tracker: Tracker, run: str) -> dict[str, int]:
        if run not in self._steps:
            self._steps[run] = dict(tracker.find_steps(run))
        return self._steps[run]

    def _attempt(self, tell: Callable[[Tracker], None]) -> None:
        if self._tracker is None:
            return
        try:
            tell(self._tracker)
        except Exception as error:  # of whatever kind its library, its server or the disk have
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._tracker = None
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0]:.300}" if lines else type(error).__name__
        self._say(f"warning: {self.name} records nothing more ({reason}); the run goes on, a resume records the rest")
        log.info("what %s raised", self.name, exc_info=error)


@dataclass(frozen=True)
class Recorders:
    """All trackers of a search, which are none unless they are asked for."""

    all: tuple[Recorder, ...] = ()

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """As `Recorder.log`."""
        for recorder in self.all:
            recorder.log(run, step, values)

    def log_training(self, run: str, prefix: str, before: int, at: Training) -> None:
        """Losses and learning rate of a step, for some 200 steps of a training.

        Args:
            before: steps of earlier trainings in the same series.
        """
        if self.all and (at.step % max(at.total // POINTS, 1) == 0 or at.step == at.total):
            losses = {f"{prefix}{name}": float(value) for name, value in at.losses.items()}
            self.log(run, before + at.step, {f"{prefix}loss": at.loss, f"{prefix}lr": at.lr, **losses})


UNTRACKED = Recorders()
