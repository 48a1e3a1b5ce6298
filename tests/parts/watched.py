"""A progress display that a test reads, and by which it interrupts a training."""

from __future__ import annotations

import io

from rich.console import Console

from optimizer.progress import RunProgress


class Watched(RunProgress):
    """Notes what it is told, and can be told to interrupt a training.

    Attributes:
        stop: the step at which it does so: number of the training, steps done.
        titles: of the trainings. steps: as `stop`. lines: what was said.
    """

    def __init__(self, stop: tuple[int, int] | None = None) -> None:
        super().__init__(Console(file=io.StringIO()))
        self.stop = stop
        self.titles: list[str] = []
        self.steps: list[tuple[int, int]] = []
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def start_step(self, text: str, total: int) -> None:
        self.titles.append(text)
        super().start_step(text, total)

    def advance_step(self, completed: int, note: str = "") -> None:
        self.steps.append((len(self.titles) - 1, completed))
        if self.steps[-1] == self.stop:
            raise KeyboardInterrupt
        super().advance_step(completed, note)
