"""`Option`: one option of the command line, and what it changes of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Option", "as_given"]


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: of the parameter; `--name` with hyphens is what a person writes.
        kind: what typer reads: text, a number, a path, whether a switch is on, or a list of what is given repeatedly.
        help: for people.
        changes: what is made of the value for each part of `RunConfig`, by its dotted name.
        switch: how its flags are written, where that is not by its name.
    """

    name: str
    kind: type
    help: str
    changes: Mapping[str, Callable[[Any], object]]
    switch: str = ""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def as_given(*names: str) -> dict[str, Callable[[Any], object]]:
    """The value as it is, for each of these parts."""
    return dict.fromkeys(names, lambda value: value)
