"""What is known not to work: TensorRT releases, boards and graphs that users reported, looked up before a build."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from typing import Tuple

__all__ = ["KNOWN_BAD", "KnownBad", "find_known_bad", "parse_version"]

Version = Tuple[int, ...]


@dataclass(frozen=True)
class KnownBad:
    """A combination that is refused; what is left empty matches anything.

    Attributes:
        first, before: TensorRT releases from the one up to, not including, the other.
        machine: of the CPU, as `platform.machine` names it. cuda: the lowest major version it concerns.
        holds: what the graph has all of: "int8". holds_any: what it has at least one of: "topk", "nms".
        source: where it was reported.
    """

    first: Version
    before: Version
    reason: str
    advice: str
    source: str
    machine: str = ""
    cuda: int = 0
    holds: frozenset[str] = frozenset()
    holds_any: frozenset[str] = frozenset()


KNOWN_BAD: tuple[KnownBad, ...] = (
    KnownBad(
        (10, 2), (10, 3),
        "releases 10.2 are known to build engines that fail",
        "install another release of TensorRT",
        "ultralytics pull requests 14240 and 24367",
    ),
    KnownBad(
        (10, 3), (10, 4),
        "10.3 fails (checkLinks) on INT8 graphs with TopK or NMS in them",
        "take the same model in FP16 or FP32, or TensorRT 10.7 or later",
        "ultralytics issue 23841, pull request 24368",
        holds=frozenset(("int8",)),
        holds_any=frozenset(("topk", "nms")),
    ),
    KnownBad(
        (10,), (10, 15),
        "before 10.15, engines on ARM boards with CUDA 13 are known to detect wrong boxes",
        "install TensorRT 10.15 or later",
        "ultralytics issue 22873, pull request 23529",
        machine="aarch64",
        cuda=13,
    ),
)  # fmt: skip


def find_known_bad(tensorrt: str, cuda: str, holds: frozenset[str], machine: str | None = None) -> KnownBad | None:
    """The first entry that a release, a machine and a graph fall under; None where nothing is known against them."""
    version, major = parse_version(tensorrt), parse_version(cuda)[:1]
    for entry in KNOWN_BAD:
        if (
            entry.first <= version < entry.before
            and entry.machine in ("", machine or platform.machine())
            and (entry.cuda,) <= (major or (0,))
            and entry.holds <= holds
            and (not entry.holds_any or entry.holds_any & holds)
        ):
            return entry
    return None


def parse_version(text: str) -> Version:
    """The numbers that a version begins with: "10.3.0.post1" is (10, 3, 0)."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, found.group().split("."))) if found else ()
