"""A disk that fails, ends the process, or notes what is done to it, at the calls of the system: `doubles/disk.c`.

It is between the C library and all that uses it, so SQLite, torch, safetensors and ONNX Runtime meet it as Python does.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import NamedTuple

__all__ = ["Action", "Calls", "Disk", "Event", "build_disk", "read_trace"]

SOURCE = Path(__file__).parents[1] / "doubles" / "disk.c"
CONTROL = struct.Struct("<4IiIII1024s1024s1024s")
HEAD = struct.Struct("<c7xQQIIQ")


class Action(IntEnum):
    COUNT, FAIL, KILL, RECORD = range(4)


class Calls(IntFlag):
    """Kinds of calls. To open is to open for writing, or to make a file."""

    OPEN, WRITE, FSYNC, RENAME, MKDIR, UNLINK, TRUNCATE = (1 << bit for bit in range(7))
    ALL = (1 << 7) - 1


class Event(NamedTuple):
    """What was done: "k" is a call that is about to be made, all other kinds are what was done to the disk."""

    kind: str
    inode: int
    offset: int
    path: str
    other: str
    data: bytes


def build_disk(folder: Path) -> Path | None:
    """The library to be preloaded (LD_PRELOAD); None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "disk.so"
    command = [compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library


@dataclass
class Disk:
    """What the disk does to what is below a folder, as this and all processes that share the file see it."""

    file: Path

    def __post_init__(self) -> None:
        self.file.write_bytes(bytes(CONTROL.size))
        with self.file.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), CONTROL.size)

    def set(
        self, root: Path, action: Action, calls: Calls, target: int = 0, code: int = 0, lasts: bool = False,
        trace: Path | None = None,
    ) -> None:  # fmt: skip
        """From now on: which calls are counted, and what becomes of the one of this number (0: of none).

        Args:
            lasts: whether the disk goes on failing.
            trace: where `RECORD` writes; processes note nothing before they `attach`.
        """
        roots = os.fsencode(root), os.fsencode(trace or ""), b""
        self._memory[:] = CONTROL.pack(action, calls, target, lasts, code, 0, 0, 0, *roots)

    def rest(self) -> None:
        """Nothing is looked at any more."""
        self._memory[:] = bytes(CONTROL.size)

    @property
    def counted(self) -> int:
        return int(CONTROL.unpack(self._memory)[5])

    @property
    def what(self) -> str:
        """Which call it was; empty where there was none."""
        return os.fsdecode(CONTROL.unpack(self._memory)[10].rstrip(b"\0"))

    def attach(self) -> None:
        """Let this process, which has the library preloaded, go by the file; its children do so too."""
        import ctypes

        os.environ["DISK_CONTROL"] = str(self.file)
        if ctypes.CDLL(None).disk_attach(os.fsencode(self.file)):
            raise OSError(f"{self.file} cannot be used")


def read_trace(path: Path) -> Iterator[Event]:
    """What was noted, in order."""
    content = path.read_bytes()
    at = 0
    while at < len(content):
        kind, inode, offset, first, second, size = HEAD.unpack_from(content, at)
        at += HEAD.size
        parts = []
        for length in (first, second, size):
            parts.append(content[at : at + length])
            at += length
        yield Event(kind.decode(), inode, offset, os.fsdecode(parts[0]), os.fsdecode(parts[1]), parts[2])
