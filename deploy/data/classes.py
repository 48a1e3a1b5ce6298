"""The class names of a data set: each once, the same in all of its splits, and printable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.errors import InputError

__all__ = ["agree_on_classes", "require_unique"]


def require_unique(names: Sequence[str], places: Sequence[str], where: Path) -> None:
    """Refuse names that stand for two classes, or that are not text; `places` says where each name is from.

    Raises:
        InputError: naming both places.
    """
    first: dict[str, str] = {}
    for name, place in zip(names, places):
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise InputError(f"{where} cannot be read: the class name {name!a} ({place}) is not text; save it as UTF-8")
        if name in first:
            raise InputError(
                f"{where} names twice: {name} ({first[name]} and {place}); rename one of them, or make them one class"
            )
        first[name] = place


def agree_on_classes(by_place: Mapping[Path, Sequence[str]]) -> tuple[str, ...]:
    """The names of all splits: those of the label file that lists the most, the first of several.

    Raises:
        InputError: another one lists a class that this one does not.
    """
    fullest = max(by_place, key=lambda place: len(by_place[place]))
    known = set(by_place[fullest])
    for place, names in by_place.items():
        strange = [name for name in names if name not in known]
        if strange:
            raise InputError(
                f"the splits do not list the same classes: {place} has {', '.join(strange)}, which {fullest} has not"
            )
    return tuple(by_place[fullest])
