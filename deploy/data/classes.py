"""The class names of a data set: each once, the same in all of its splits, and printable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.data.records import Problem
from deploy.errors import InputError

__all__ = ["agree_on_classes", "find_alike_names", "require_unique"]


def require_unique(names: Sequence[str], places: Sequence[str], where: Path) -> None:
    """Refuse names that stand for two classes, are empty or not text; `places` says where each name is from.

    Raises:
        InputError: naming both places.
    """
    first: dict[str, str] = {}
    for name, place in zip(names, places):
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise InputError(f"{where} cannot be read: the class name {name!a} ({place}) is not text; save it as UTF-8")
        if not name:
            raise InputError(f"{where} has a class without a name ({place}); name it, or take its line away")
        if name in first:
            raise InputError(
                f"{where} names twice: {name} ({first[name]} and {place}); rename one of them, or make them one class"
            )
        first[name] = place


def find_alike_names(names: Sequence[str], where: Path) -> list[Problem]:
    """The names that differ by their case or spaces alone, and are most likely one class; one problem for each set."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault("".join(name.casefold().split()), []).append(name)
    return [
        Problem(where, None, "names alike", f"classes {', '.join(map(repr, several))} differ little", "kept apart")
        for several in alike.values()
        if len(several) > 1
    ]


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
