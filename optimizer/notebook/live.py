"""A run's progress in a notebook: bars, its last lines and the front so far, in one place that is drawn anew."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optimizer.notebook.front import Front, open_front
from optimizer.progress import RunProgress, format_duration

if TYPE_CHECKING:
    from rich.progress import Task

__all__ = ["NotebookProgress", "choose_progress", "is_notebook"]

log = logging.getLogger("detopt")

EVERY_S = 0.5  # at most so often is it drawn
LINES = 6  # the last ones
OnTrial = Callable[[Front], None]


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


def choose_progress(folder: Path, on_trial: OnTrial | None) -> RunProgress:
    """For a terminal, or for a notebook where this is one; `on_trial` is told the front after each trial."""
    tell = None if on_trial is None else lambda: on_trial(open_front(folder))
    if not is_notebook():
        return RunProgress(on_front=tell)
    from IPython.display import HTML, display

    handle = display(HTML(""), display_id=True)
    return NotebookProgress(folder, lambda html: handle.update(HTML(html)), tell)


class NotebookProgress(RunProgress):
    """What a terminal shows as lines and bars, as HTML that replaces the one before; lines go to the run's log too.

    Args:
        show: draws the HTML in the place of what it drew before.
    """

    def __init__(self, folder: Path, show: Callable[[str], None], on_front: Callable[[], None] | None = None) -> None:
        from rich.console import Console

        console = Console(file=io.StringIO(), force_terminal=True, force_jupyter=False, width=120)  # nobody looks at it
        super().__init__(console, on_front)
        self.folder, self._show = folder, show
        self._lines: deque[str] = deque(maxlen=LINES)
        self._front, self._drawn = "", 0.0

    @contextmanager
    def shown(self) -> Iterator[NotebookProgress]:
        try:
            yield self
        finally:
            self._draw(at_once=True)

    def say(self, text: str) -> None:
        log.info("%s", text)
        self._lines.extend(text.split("\n"))
        self._draw(at_once=True)

    def start_step(self, text: str, total: int) -> None:
        super().start_step(text, total)
        self._draw(at_once=True)

    def advance_step(self, completed: int, note: str = "") -> None:
        super().advance_step(completed, note)
        self._draw()

    def note(self, text: str) -> None:
        super().note(text)
        self._draw()

    def front_written(self) -> None:
        self._front = open_front(self.folder)._repr_html_()
        super().front_written()
        self._draw(at_once=True)

    def make_html(self) -> str:
        bars = "".join(_draw_bar(task) for task in self._bars.tasks)
        lines = escape("\n".join(self._lines))
        return f'{bars}<pre style="white-space:pre-wrap">{lines}</pre>{self._front}'

    def _draw(self, at_once: bool = False) -> None:
        if at_once or time.monotonic() - self._drawn >= EVERY_S:
            self._drawn = time.monotonic()
            self._show(self.make_html())


def _draw_bar(task: Task) -> str:
    """A bar of the browser's own; one without a known end moves to and fro."""
    ends = "" if task.total is None else f' value="{task.completed:g}" max="{task.total:g}"'
    count = f"{task.completed:g}" if task.total is None else f"{task.completed:g} of {task.total:g}"
    left = "" if task.time_remaining is None else f", {format_duration(task.time_remaining)} left"
    note: Any = task.fields.get("note") or ""
    return f"<div><progress{ends}></progress> {escape(task.description)}: {count}{left} {escape(str(note))}</div>"
