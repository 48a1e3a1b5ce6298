"""What a person sees while a run goes on: bars with time left on a terminal, plain lines in a log file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deploy.foreign import LINE_LIMIT, make_printable
from optimizer.search.base import DoneTrial, FailedTrial, ScreenedTrial
from optimizer.track.base import Training
from optimizer.track.recorder import UNTRACKED

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["RunProgress", "format_duration"]

log = logging.getLogger("detopt")

LINE_EVERY_S = 60.0  # without a terminal
EDITS_WIDTH = 22  # columns


def format_duration(seconds: float) -> str:
    """Short text such as ``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class RunProgress:
    """The terminal's progress display: a bar for the run, a bar for the current step, a line for every finished trial.

    Every line also goes to the run's log. Without a terminal there are no bars, only the lines. What a training comes
    to goes to `trackers` too. `on_front` is called each time the front was written.
    """

    def __init__(self, console: Console | None = None, on_front: Callable[[], None] | None = None) -> None:
        from rich.console import Console  # here, so that what only hands a progress on needs no rich

        self.console = console or Console()
        self._on_front = on_front
        self.trackers = UNTRACKED
        self._series, self._prefix, self._before, self._at = "", "", 0, 0
        self._bars = _lay_out_bars(self.console)
        self._run: TaskID | None = None
        self._students = 0
        self._step: TaskID | None = None
        self._text, self._total, self._started, self._last_line = "", 0, 0.0, 0.0

    @contextmanager
    def shown(self) -> Iterator[RunProgress]:
        """Bars are on screen inside this context."""
        with self._bars:
            yield self

    def say(self, text: str) -> None:
        """One line for the person, and the same in the log."""
        log.info("%s", text)
        for line in text.split("\n"):
            line = make_printable(line, LINE_LIMIT)
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def start_search(self, done: int, total: int | None) -> None:
        """`total` students to try; None where only the time decides."""
        self._students = done
        self._run = self._bars.add_task("search", total=total, completed=done, note="")

    def start_step(self, text: str, total: int) -> None:
        """Shows the current step, for example one training, in place of the one before."""
        log.info("%s (%d steps)", text, total)
        if self._step is not None:
            self._bars.remove_task(self._step)
        self._step = self._bars.add_task(make_printable(text), total=total, note="")
        self._text, self._total, self._started = text, total, time.monotonic()
        self._last_line = self._started

    def advance_step(self, completed: int, note: str = "") -> None:
        assert self._step is not None
        self._bars.update(self._step, completed=completed, note=make_printable(note))
        now = time.monotonic()
        if not self.console.is_terminal and now - self._last_line >= LINE_EVERY_S and completed:
            left = (now - self._started) / completed * (self._total - completed)
            self.say(f"  {self._text}: {completed}/{self._total} {note}, about {format_duration(left)} left")
            self._last_line = now

    def start_training(self, text: str, total: int, series: str, prefix: str = "train/", before: int = 0) -> None:
        """Shows a training as the current step.

        Args:
            series: name of the tracked run that it belongs to; prefix: of the names of its figures there.
            before: steps of earlier trainings of the same name.
        """
        self.start_step(text, total)
        self._series, self._prefix, self._before, self._at = series, prefix, before, before

    def advance_training(self, at: Training, note: str = "") -> None:
        """A step of the training that was started is done."""
        self._at = self._before + at.step
        self.advance_step(at.step, note=f"loss {at.loss:.2f}{note}")
        self.trackers.log_training(self._series, self._prefix, self._before, at)

    def judge_training(self, ap: float) -> None:
        """Average precision on the kept images, as that training stands."""
        self.trackers.log(self._series, self._at, {"ap_kept": ap})

    def note(self, text: str) -> None:
        """What the step in hand is at; a line of its own, now and then, where there is no terminal."""
        if self._step is not None:
            self._bars.update(self._step, note=make_printable(text))
        now = time.monotonic()
        if not self.console.is_terminal and now - self._last_line >= LINE_EVERY_S:
            self.say(f"  {self._text}: {text}")
            self._last_line = now

    def front_written(self) -> None:
        """The files of the front and the page are those of the trials so far."""
        if self._on_front is not None:
            self._on_front()

    def trial_done(self, trial: DoneTrial | FailedTrial | ScreenedTrial, total: int | None) -> None:
        """A line for a recorded trial; one that was only screened is not counted among the `total` students."""
        if trial.number and not trial.proposal.screens:
            self._students += 1
        if self._run is not None:
            self._bars.update(self._run, completed=self._students)
        self.say(describe_trial(trial, self._students, total))


def _lay_out_bars(console: Console) -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=18),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn(
            "{task.fields[note]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
        ),
        console=console,
        disable=not console.is_terminal,
    )


def describe_trial(trial: DoneTrial | FailedTrial | ScreenedTrial, students: int, total: int | None) -> str:
    """A finished trial on one line of at most 80 columns or so; it is one of so many students, if that is known."""
    place = "" if total is None else f"/{total}" if students == trial.number else f" ({students}/{total})"
    name = "base" if trial.number == 0 else f"trial {trial.number}{place}"
    kinds = [action.kind for action in trial.proposal.actions]
    what = ", ".join(kinds) or (trial.proposal.note or "train" if trial.number == 0 else "train on")
    if len(what) > EDITS_WIDTH:
        what = f"{len(kinds)} edits"
    if trial.proposal.finetune:
        name = f"trial {trial.number}"
        what = what if kinds else f"fine-tune trial {trial.proposal.parent}"
    elif trial.proposal.subnet is not None:
        what = "from the pool"
    elif trial.proposal.arch is not None:
        what = "whole architecture"
    if isinstance(trial, FailedTrial):
        return f"{name:<12} {what:<22} failed: {trial.error}"
    if isinstance(trial, ScreenedTrial):
        listed = ", ".join(kind.removeprefix("prune_").replace("_", " ") for kind in dict.fromkeys(kinds))
        return f"  screened {trial.number:<4} {listed[:42]:<42} AP {trial.ap:.3f} {trial.counts.macs / 1e9:6.2f} GMAC"
    cost = f"{trial.figures.median_ms:7.1f} ms" if trial.figures else f"{trial.counts.macs / 1e9:6.2f} GMAC"
    return (
        f"{name:<12} {what:<22} AP {trial.ap:.3f} {cost} x{trial.cost_ratio:.2f} "
        f"score {trial.score:.3f}  {format_duration(trial.work.seconds)}"
    )
