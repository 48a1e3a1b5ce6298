"""Quantities as people write them on a command line: sizes of images, durations, latencies, sizes of files."""

from __future__ import annotations

import re

from optimizer.errors import InputError

__all__ = ["parse_bytes", "parse_duration", "parse_milliseconds", "parse_size"]

BYTES = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
MILLISECONDS = {"": 1.0, "ms": 1.0, "s": 1e3}


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) from ``"1333x800"``."""
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text.strip())
    if not match:
        raise InputError(f"a size is WIDTHxHEIGHT in pixels, such as 640x480; not {text!r}")
    return int(match[1]), int(match[2])


def parse_duration(text: str) -> float:
    """Seconds from ``"90s"``, ``"20m"``, ``"2h"``, ``"1h30m"`` or a bare number of seconds."""
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    seconds = sum(float(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1))) if match else 0.0
    if seconds <= 0:
        raise InputError(f"a duration is written like 90s, 20m, 2h or 1h30m; not {text!r}")
    return seconds


def parse_milliseconds(text: str) -> float:
    """Milliseconds from ``"33ms"``, ``"0.5s"`` or a bare number of milliseconds."""
    milliseconds = _parse(text, MILLISECONDS)
    if not milliseconds:
        raise InputError(f"a latency is written like 33ms or 0.5s, and is above 0; not {text!r}")
    return milliseconds


def parse_bytes(text: str) -> int:
    """Bytes from ``"20MB"`` (20,000,000), ``"500kB"`` or ``"20MiB"`` (20 * 2**20)."""
    count = int(_parse(text, BYTES))
    if not count:
        raise InputError(f"a size is written like 20MB or 500kB, and is above 0; not {text!r}")
    return count


def _parse(text: str, units: dict[str, float]) -> float:
    """A number with one of these units; 0 where it is none."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9}) ?([A-Za-z]*)", text.strip())
    spelled = {name.lower(): factor for name, factor in units.items()}
    factor = spelled.get(match[2].lower()) if match else None
    return float(match[1]) * factor if match and factor is not None else 0.0
