"""Which split the name of a file or folder speaks of."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["SPLITS", "split_of", "split_of_parts"]

SPLITS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training", "trainset"),
    "val": ("val", "valid", "validation", "valset", "dev"),
    "test": ("test", "testing", "testset"),
}
WORDS = re.compile(r"[a-z]+")


def split_of(name: str) -> str | None:
    """ "train", "val" or "test" of a name such as instances_Train2017; None where it speaks of none or of several."""
    words = set(WORDS.findall(name.lower()))
    found = [split for split, meant in SPLITS.items() if words.intersection(meant)]
    return found[0] if len(found) == 1 else None


def split_of_parts(parts: Iterable[str]) -> str | None:
    """That of the first part of a path that is a split's name, with digits at most."""
    for part in parts:
        word = part.lower().rstrip("0123456789_-")
        for split, meant in SPLITS.items():
            if word in meant:
                return split
    return None
