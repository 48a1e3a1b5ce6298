"""Numbers and booleans of label files, which may be text, null or empty there."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["as_number", "as_size", "as_truth"]

FALSE = ("", "0", "0.0", "false", "no", "n", "f", "none", "null", "unspecified")
TRUE = ("1", "1.0", "true", "yes", "y", "t")


def as_number(value: Any) -> float:
    """A number, also one that is written as text ("96.0", " 12 ", "1,5"). Raises `ValueError` or `TypeError`."""
    if isinstance(value, str):
        if "_" in value:  # which Python takes and nobody means
            raise ValueError(f"{value!r} is not a number")
        try:
            return float(value)
        except ValueError:
            if value.count(",") != 1 or "." in value:
                raise
            return float(value.replace(",", "."))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is not a number")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError("the number is too large") from error


def as_truth(value: Any) -> bool:
    """Whether something is so, also as text or null. Raises `ValueError`, `TypeError` for anything else."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, str):
        text = value.strip().lower()
        if text in FALSE or text in TRUE:
            return text in TRUE
        raise ValueError(f"{value!r} is neither true nor false")
    return as_number(value) != 0


def as_size(width: Any, height: Any) -> tuple[int, int] | None:
    """(width, height) in whole pixels; None where an image's size is not stated: null, empty, 0, -1.

    Raises:
        ValueError, TypeError, OverflowError: something is stated and is not a number.
    """
    sides = []
    for value in (width, height):
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        side = as_number(value)
        if math.isnan(side):
            return None
        sides.append(round(side))  # infinity: OverflowError
    return None if min(sides) < 1 else (sides[0], sides[1])
