"""Reading what others wrote: plain files alone, no more of them than is expected, and JSON with finite numbers."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from deploy.errors import InputError

__all__ = ["open_plain", "parse_json", "read_json_object", "read_plain"]

MOST_LEVELS = 100  # of lists and objects in each other
MOST_VALUES = 4_000_000  # a small one takes some 20 times the memory of its text
MOST_DIGITS = 400  # of a whole number; Python takes quadratic time for them


def open_plain(path: Path, *, follow_link: bool = True) -> BinaryIO:
    """A plain file opened for reading; a pipe or a device, which might never end, is refused and not waited for.

    Args:
        follow_link: whether the file itself may be a link; the folders on the way to it always may.

    Raises:
        InputError: it cannot be opened, or is not a plain file.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_link else os.O_NOFOLLOW)
    try:
        descriptor = os.open(str(path), flags)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        if not follow_link and getattr(error, "errno", None) == errno.ELOOP:
            raise InputError(f"{path} is a link, and links are not followed here; copy the file itself") from error
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path} is not a plain file, so it is not read")
    return os.fdopen(descriptor, "rb")


def read_plain(path: Path, limit: int, *, follow_link: bool = True) -> bytes:
    """All of a plain file that has at most ``limit`` bytes. Raises as `open_plain` does, and where it has more."""
    with open_plain(path, follow_link=follow_link) as file:
        try:
            content = file.read(limit + 1)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > limit:
        raise InputError(f"{path} is too large to be what it should be: it has more than {limit} bytes")
    return content


def parse_json(content: bytes, origin: str) -> Any:
    """The value of JSON in UTF-8.

    Raises:
        InputError: it is not JSON, is nested too deeply or holds too many values, or a number in it is not finite or is
            absurdly long.
    """
    if sum(map(content.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise InputError(f"{origin} is damaged: it holds more than {MOST_VALUES} values")
    try:
        value = json.loads(
            content.decode("utf-8"), parse_constant=_refuse, parse_float=_parse_finite, parse_int=_parse_whole
        )
    except (ValueError, RecursionError) as error:
        raise InputError(f"{origin} is damaged: {error}") from error
    if _is_deep(value):
        raise InputError(f"{origin} is damaged: it is nested deeper than {MOST_LEVELS} levels")
    return value


def read_json_object(path: Path, limit: int, *, follow_link: bool = True) -> dict[str, Any]:
    """The object in a JSON file. Raises as `read_plain` and `parse_json` do, and where it holds anything else."""
    value = parse_json(read_plain(path, limit, follow_link=follow_link), str(path))
    if not isinstance(value, dict):
        raise InputError(f"{path} is damaged: it holds no JSON object")
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MOST_LEVELS):
        inside = [item for item in level if isinstance(item, (dict, list))]
        level = [part for item in inside for part in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return False
    return True


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _parse_finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not a finite number")
    return value


def _parse_whole(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)
