"""What is kept with a run besides its trials: each value is an attribute of the store, declared once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

__all__ = ["DataSummary", "Entry"]

T = TypeVar("T")


class Keeper(Protocol):
    """Where entries are kept, as text under a key."""

    def read_entry(self, key: str) -> str | None: ...

    def write_entry(self, key: str, text: str) -> None: ...


class Entry(Generic[T]):
    """A JSON value that a store keeps under the attribute's name; `default` where none was written.

    Args:
        parse: makes the value of what `json.loads` gives.
    """

    def __init__(self, default: T, parse: Callable[[Any], T] | None = None) -> None:
        self._default, self._parse = default, parse

    def __set_name__(self, owner: type, name: str) -> None:
        self._key = name

    def __get__(self, keeper: Keeper, owner: type) -> T:
        text = keeper.read_entry(self._key)
        if text is None:
            return self._default
        value = json.loads(text)
        parsed: T = value if self._parse is None else self._parse(value)
        return parsed

    def __set__(self, keeper: Keeper, value: T) -> None:
        keeper.write_entry(self._key, json.dumps(value, sort_keys=True))


class DataSummary(NamedTuple):
    """What a run remembers of its images, to notice when they change."""

    class_names: tuple[str, ...]
    train: int
    val: int
    fingerprint: str = ""  # of labels and pictures; none in runs that began before it was kept

    def __str__(self) -> str:
        return f"{self.train} images to train on and {self.val} to validate on, classes {', '.join(self.class_names)}"

    def is_same(self, other: DataSummary) -> bool:
        """Whether they are of the same images and labels, as far as both know."""
        known = self.fingerprint and other.fingerprint
        return self[:3] == other[:3] and (not known or self.fingerprint == other.fingerprint)

    @staticmethod
    def from_json(value: list[Any] | None) -> DataSummary | None:
        return None if value is None else DataSummary(tuple(value[0]), *value[1:])
