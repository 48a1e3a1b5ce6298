"""What a tracker does, and what it is told of a training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, Protocol, SupportsFloat

__all__ = ["SEARCH", "Outcome", "Parameter", "Tracker", "Training", "name_run"]

Outcome = Literal["finished", "failed", "stopped"]
Parameter = str | int | float
SEARCH = "search"


def name_run(number: int) -> str:
    """Of a trial."""
    return "base" if number == 0 else f"trial-{number:03d}"


class Training(Protocol):
    """Where a training stands after a step: steps done and steps in all, the learning rate, and losses of the batch."""

    @property
    def step(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def loss(self) -> float: ...
    @property
    def losses(self) -> Mapping[str, SupportsFloat]: ...


class Tracker(Protocol):
    """Keeps the figures of a search in runs by name: one for each trial (`name_run`), and `SEARCH` for the whole.

    A run is begun by whatever is first told of it, and a search that is resumed goes on in the same runs. Methods raise
    what their library raises. What was told is kept when a method returns: a process may be killed at any moment.

    Attributes:
        package: what to install where its library is missing.
        hint: where this one keeps its runs, for a person.
    """

    package: ClassVar[str]
    hint: str

    @classmethod
    def load(cls) -> None:
        """Import its library; an `ImportError` where something is missing."""
        ...

    @classmethod
    def open(cls, folder: Path, identity: str, begun: bool) -> Tracker:
        """A tracker for the search in a folder.

        Args:
            identity: of this search and no other one, the same whenever it is resumed, wherever its folder is then.
            begun: whether an earlier process told this tracker of trials of it.
        """
        ...

    def find_steps(self, run: str) -> Mapping[str, int]:
        """The last step that each series of a run has; nothing of a run that is not begun."""
        ...

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """A point of each of these series."""
        ...

    def describe(self, run: str, parameters: Mapping[str, Parameter], results: Mapping[str, float]) -> None:
        """What a run is of, and what came of it, which are points of their series at step 0; there may be none."""
        ...

    def write(self, run: str, step: int, name: str, text: str) -> None:
        """A text in Markdown."""
        ...

    def keep(self, files: Mapping[str, Path]) -> None:
        """Files and folders of the search, by their names; nothing where files cannot be kept."""
        ...

    def end(self, run: str, outcome: Outcome) -> None:
        """Nothing more is told of a run in this process."""
        ...
