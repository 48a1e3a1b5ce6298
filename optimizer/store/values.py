"""What a run's database may hold where a number, a text or a list is expected: others may have written it."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

__all__ = [
    "DAMAGE", "SHA256", "parse_value", "read_hash", "read_list", "read_mapping", "read_number", "read_text",
    "read_whole",
]  # fmt: skip

DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)  # of unfit values
LARGEST = sys.float_info.max
SHA256 = re.compile(r"[0-9a-f]{64}\Z")
LONGEST = 2**53  # what a float holds without rounding


def parse_value(text: str) -> Any:
    """The value of JSON text; a `ValueError` or `RecursionError` where it is none, or holds NaN or Infinity."""
    return json.loads(text, parse_constant=_refuse)


def read_number(value: Any, low: float = -LARGEST, high: float = LARGEST) -> float:
    """A finite number, as it is. These functions raise `TypeError` or `ValueError` for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r:.80} is not a number")
    if not low <= value <= high:
        raise ValueError(f"{value!r:.80} is not from {low:g} to {high:g}")
    return value


def read_whole(value: Any, low: int = 0) -> int:
    """A whole number from `low` on."""
    if type(value) is not int or not low <= value <= LONGEST:
        raise TypeError(f"{value!r:.80} is not a whole number from {low} on")
    return int(value)


def read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is not a text")
    return value


def read_hash(value: Any) -> str:
    """A SHA-256 in hexadecimal digits: the name of an artefact, which leads nowhere else."""
    if not SHA256.match(read_text(value)):
        raise ValueError(f"{value!r:.80} is not a SHA-256")
    return str(value)


def read_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.80} is not a list")
    return value


def read_mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.80} is not an object")
    return value


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not a number")
