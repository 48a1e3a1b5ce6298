"""What is kept with a run besides its trials: each value is an attribute of the store, declared once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from optimizer.errors import InputError
from optimizer.store.values import (
    DAMAGE,
    parse_value,
    read_hash,
    read_list,
    read_mapping,
    read_number,
    read_text,
    read_whole,
)

__all__ = ["DataSummary", "Entry", "KeptTeacher"]

T = TypeVar("T")


class Keeper(Protocol):
    """Where entries are kept, as text under a key."""

    def read_entry(self, key: str) -> str | None: ...

    def write_entry(self, key: str, text: str) -> None: ...


class Entry(Generic[T]):
    """A JSON value that a store keeps under the attribute's name; `default` where none was written.

    Args:
        parse: makes the value of what JSON gives, and refuses what is none; it is not asked for null where that is the
            default.
    """

    def __init__(self, default: T, parse: Callable[[Any], T]) -> None:
        self._default, self._parse = default, parse

    def __set_name__(self, owner: type, name: str) -> None:
        self._key = name

    def __get__(self, keeper: Keeper, owner: type) -> T:
        text = keeper.read_entry(self._key)
        if text is None:
            return self._default
        try:
            value = parse_value(text)
            return self._default if value is None and self._default is None else self._parse(value)
        except DAMAGE as error:
            raise InputError(f"the run is damaged: its {self._key} cannot be read ({error!r:.160})") from error

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
    def from_json(value: list[Any]) -> DataSummary:
        names, train, val, *fingerprint = read_list(value)
        (known,) = fingerprint or ("",)
        classes = tuple(read_text(name) for name in read_list(names))
        return DataSummary(classes, read_whole(train), read_whole(val), read_text(known))


class KeptTeacher(NamedTuple):
    """A teacher that came from outside the run: its architecture (JSON), and the SHA-256 of its weights, kept here.

    Attributes:
        epochs: that it was trained, along its whole lineage; 0 where that is not known.
    """

    arch: dict[str, Any]
    weights: str
    epochs: float = 0.0  # of runs that began before it was kept, too

    @staticmethod
    def from_json(value: list[Any]) -> KeptTeacher:
        arch, weights, *epochs = read_list(value)
        (known,) = epochs or (0.0,)
        return KeptTeacher(read_mapping(arch), read_hash(weights), read_number(known, 0))
