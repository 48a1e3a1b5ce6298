"""What a machine that loses its power leaves on its disk, at every moment of what was noted of a process's calls.

The disk keeps as little as it may, or more. Least: a file holds what it held when it was last flushed, or nothing, and
a folder has the names that it had then. Named: folders have all their names, files as before. Mixed: of each file and
each folder a throw of the dice decides whether what was not flushed is there. Bytes of one write are not torn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import TypeAlias

from disk import Event

__all__ = ["State", "lay", "list_states"]

State: TypeAlias = Mapping[str, bytes | None]  # by path: what a file holds; None is a folder
Dice: TypeAlias = Callable[[], bool]
NEVER_KEPT = ".db-shm"  # SQLite makes it anew, and writes it through memory
QUIET = "kw"  # calls that are about to be made, and writes, change nothing that is on the disk for sure


class _File:
    def __init__(self) -> None:
        self.live, self.flushed = bytearray(), b""
        self._copied = b""

    def read(self) -> bytes:
        """What it holds; the same object while that is the same, since there are many states."""
        if self._copied != self.live:
            self._copied = bytes(self.live)
        return self._copied


class _Folder:
    def __init__(self) -> None:
        self.live, self.flushed = dict[str, "_File | _Folder"](), dict[str, "_File | _Folder"]()


def list_states(root: Path, events: Iterable[Event], seed: int = 0) -> Iterator[tuple[str, State]]:
    """Every different state below a folder that was empty at first, with its kind and the call that follows."""
    disk, rng, seen = _Disk(root), Random(seed), set[tuple[tuple[str, int], ...]]()

    def toss() -> bool:
        return rng.random() < 0.5

    for event in events:
        if event.kind in QUIET:
            disk.do(event)
            continue
        for name, of_folders, of_files in (("least", _no, _no), ("named", _yes, _no), ("mixed", toss, toss)):
            state = dict(_walk(disk.root, "", of_folders, of_files))
            key = tuple(sorted((path, hash(content)) for path, content in state.items()))
            if key not in seen:
                seen.add(key)
                yield f"{name}, before {event.kind} {event.path.removeprefix(str(root))}", state
        disk.do(event)
    yield "least, in the end", dict(_walk(disk.root, "", _no, _no))
    yield "named, in the end", dict(_walk(disk.root, "", _yes, _no))


def lay(folder: Path, state: State) -> Path:
    """Make a new folder of it; returns the folder."""
    folder.mkdir()
    for name, content in state.items():
        if content is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)
    return folder


class _Disk:
    def __init__(self, root: Path) -> None:
        self.place, self.root = root, _Folder()
        self._files: dict[int, _File] = {}

    def do(self, event: Event) -> None:
        match event.kind:
            case "o" | "c":
                parent, name = self._find_parent(event.path)
                file = parent.live.setdefault(name, _File())
                assert isinstance(file, _File)
                self._files[event.inode] = file
                if event.kind == "o":
                    file.live.clear()
            case "w":
                live, end = self._files[event.inode].live, event.offset + len(event.data)
                live.extend(bytes(max(end - len(live), 0)))
                live[event.offset : end] = event.data
            case "t":
                live = self._files[event.inode].live
                live.extend(bytes(max(event.offset - len(live), 0)))
                del live[event.offset :]
            case "s":
                self._flush(event)
            case "m":
                parent, name = self._find_parent(event.path)
                parent.live[name] = _Folder()
            case "u":
                parent, name = self._find_parent(event.path)
                del parent.live[name]
            case "r":
                parent, name = self._find_parent(event.path)
                to, new = self._find_parent(event.other)
                to.live[new] = parent.live.pop(name)
            case "x":
                parent, name = self._find_parent(event.path)
                to, new = self._find_parent(event.other)
                to.live[new], parent.live[name] = parent.live[name], to.live[new]

    def _flush(self, event: Event) -> None:
        found = self._find(event.path)
        if isinstance(found, _Folder):
            found.flushed = dict(found.live)
        else:
            file = self._files.get(event.inode) or found
            if file is not None:
                file.flushed = file.read()

    def _find(self, path: str) -> _File | _Folder | None:
        found: _File | _Folder | None = self.root
        for name in Path(path).relative_to(self.place).parts:
            found = found.live.get(name) if isinstance(found, _Folder) else None
        return found

    def _find_parent(self, path: str) -> tuple[_Folder, str]:
        parent = self._find(str(Path(path).parent))
        assert isinstance(parent, _Folder), path
        return parent, Path(path).name


def _walk(folder: _Folder, inside: str, of_folders: Dice, of_files: Dice) -> Iterator[tuple[str, bytes | None]]:
    for name, found in (folder.live if of_folders() else folder.flushed).items():
        if isinstance(found, _Folder):
            yield inside + name, None
            yield from _walk(found, f"{inside}{name}/", of_folders, of_files)
        elif not name.endswith(NEVER_KEPT):
            yield inside + name, found.read() if of_files() else found.flushed


def _no() -> bool:
    return False


def _yes() -> bool:
    return True
