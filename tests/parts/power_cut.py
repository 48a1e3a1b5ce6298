"""A machine that loses its power at any moment: what was not flushed by then is gone, and what is left is looked at.

The disk keeps as little as it may. A file holds what it held when it was last flushed, or nothing; a folder holds the
names that it had when it was flushed or, as file systems do it too, those that it has now. SQLite flushes by itself,
where it cannot be watched: its files are taken as they are.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from replay import State

__all__ = ["cut_at_every_moment"]

WATCHED = ((os, "open"), (os, "fsync"), (os, "rename"), (os, "replace"), (Path, "write_bytes"), (shutil, "copyfile"))
DATABASE, OF_SQLITE, SCRATCH = "run.db", ("run.db", "run.db-wal"), "run.db-shm"
REAL_OPEN = os.open


def cut_at_every_moment(root: Path, work: Callable[[], object]) -> list[State]:
    """Do the work, and give what is left below a folder if the power is cut before or after any call that it makes.

    The last two states are those of the end: with what was flushed, and with the names as they are.
    """
    disk = _Disk(root)

    def watch(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            disk.note()
            result = real(*arguments, **options)
            if name == "fsync":
                disk.flush(arguments[0])
            disk.note()
            return result

        return watched

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in WATCHED:
            patch.setattr(owner, name, watch(name, getattr(owner, name)))
        work()
    disk.note()
    states = [*disk.states, *disk.list_states()]
    disk.close()
    return states


class _Disk:
    """What has arrived of the files below a folder, by inode; at first everything has."""

    def __init__(self, root: Path) -> None:
        self.root, self.states = root, list[State]()
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._held: dict[int, int] = {}  # descriptors: while one is open its inode is not used again
        for path in (root, *root.rglob("*")):
            self.flush(self._held[self._hold(path)])

    def close(self) -> None:
        for descriptor in self._held.values():
            os.close(descriptor)

    def flush(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            names = os.listdir(descriptor)
            self._names[found.st_ino] = {name: self._hold(Path(name), descriptor) for name in names}
        else:
            self._contents[found.st_ino] = _read_all(descriptor)

    def note(self) -> None:
        """Remember what would be left now."""
        self.states += [state for state in self.list_states() if state not in self.states]

    def list_states(self) -> tuple[State, State]:
        return dict(self._list_flushed(self._hold(self.root), "")), dict(self._list_live())

    def _hold(self, path: Path, folder: int | None = None) -> int:
        descriptor = REAL_OPEN(str(path), os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
        inode = os.fstat(descriptor).st_ino
        if inode in self._held:
            os.close(descriptor)
        else:
            self._held[inode] = descriptor
        return inode

    def _list_flushed(self, folder: int, inside: str) -> Iterator[tuple[str, bytes | None]]:
        names = self._names.get(folder, {})
        for name, inode in names.items():
            if stat.S_ISDIR(os.fstat(self._held[inode]).st_mode):
                yield inside + name, None
                yield from self._list_flushed(inode, f"{inside}{name}/")
            elif name in OF_SQLITE:
                yield inside + name, _read_all(self._held[inode])
            elif name != SCRATCH:
                yield inside + name, self._contents.get(inode, b"")
        if DATABASE in names:
            live = Path(f"/proc/self/fd/{self._held[folder]}").readlink()
            for name in set(OF_SQLITE) - set(names):
                if (live / name).exists():
                    yield inside + name, (live / name).read_bytes()

    def _list_live(self) -> Iterator[tuple[str, bytes | None]]:
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root).as_posix()
            if path.is_dir():
                yield name, None
            elif path.name in OF_SQLITE:
                yield name, path.read_bytes()
            elif path.name != SCRATCH:
                yield name, self._contents.get(path.stat().st_ino, b"")


def _read_all(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
