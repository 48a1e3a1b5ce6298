"""Files that are whole, and hashes of them: whatever both packages write goes through here."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Callable, Iterator

__all__ = [
    "flush",
    "hash_file",
    "make_folder",
    "open_to_append",
    "replace_file",
    "replace_folder",
    "write_file",
]

PART = ".part"  # how the name of a file ends that is being written
TURN_S, TURN_POLL_S = 60.0, 0.01  # with a folder, which writers hold for a rename or two
ONE_PLACE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # no link is followed, no pipe waited for, no child given it
AT_CURRENT_FOLDER, EXCHANGE = -100, 2  # of renameat2

_held: set[int] = set()  # descriptors with a lock of this process


def _let_go() -> None:
    """A forked child has the locks of this process too, and would keep them when it is gone."""
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def write_file(path: Path, content: bytes, mode: int = 0o666, flushed: bool = True) -> None:
    """Write a file whole or not at all, as `replace_file` does."""
    with replace_file(path, mode, flushed) as aside:
        aside.write_bytes(content)


@contextmanager
def replace_file(path: Path, mode: int = 0o666, flushed: bool = True) -> Iterator[Path]:
    """A new, empty file to write into; once the block ends it is flushed and renamed to ``path``.

    Whoever reads ``path`` finds the old content or the new one, also after a crash. If the block raises, ``path`` stays
    as it was and the new file is removed. The new file is in the same folder, under a name nobody can guess.

    Args:
        mode: permissions of the new file, before the process's mask.
        flushed: whether to wait for the disk. A file that is not flushed outlives its process, however that ends, but
            after a power cut it may have holes: for what can be checked when it is read, and made again.
    """

    def make(aside: Path) -> None:
        os.close(os.open(str(aside), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode))

    with _hold_aside(path, make) as aside:
        yield aside
        if flushed:
            flush(aside)
        aside.replace(path)
    if flushed:
        flush(path.parent)


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """A new, empty folder to fill; once the block ends its files are flushed and it takes the place of ``folder``.

    A folder that is there already and the new one change places in one step, where the system can do that, so that
    there is one at any moment; the old one is removed last. Writers of one folder take turns, and the last one's stays.
    If the block raises, the old one stays as it was. If ``folder`` is a link, what it points at is replaced.
    """
    if folder.is_symlink():
        folder = folder.resolve()
    make_folder(folder.parent)
    with _hold_aside(folder, Path.mkdir) as aside:
        yield aside
        for path in (*aside.rglob("*"), aside):
            if not path.is_symlink():
                flush(path)
        with _locked(folder.parent):
            if folder.exists():
                _exchange(aside, folder)
            else:
                aside.rename(folder)
        flush(folder.parent)


def make_folder(folder: Path) -> None:
    """A folder, with those it is in; what was not there is on the disk once this returns."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        flush(place.parent)


def open_to_append(path: Path) -> int:
    """A descriptor that writes at the end of a file, which is made if it is not there.

    Raises:
        OSError: the file is a link, or no plain file.
    """
    descriptor = os.open(str(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT | ONE_PLACE, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no plain file", str(path))
    return descriptor


@contextmanager
def _hold_aside(path: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """Something new beside ``path``, locked for as long as the block lasts; removed after it if it is still there.

    The lock tells a file that is being written from one that a killed process left behind: those go first.
    """
    for other in path.parent.iterdir():
        if other.name.startswith(f".{path.name}.") and other.name.endswith(PART):
            _remove_if_unlocked(other)
    while True:
        aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}{PART}")
        make(aside)
        try:
            descriptor = os.open(str(aside), os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # another process took it for a leftover
        except OSError:
            _remove(aside)
            raise
        try:
            _wait_for_turn(descriptor, aside)
            if aside.exists():
                yield aside
                return
        finally:
            _remove(aside)
            _release(descriptor)


def _remove_if_unlocked(leftover: Path) -> None:
    try:
        descriptor = os.open(str(leftover), os.O_RDONLY | ONE_PLACE)
    except OSError:
        return  # gone, another user's, or a link: none of ours
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(leftover)
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """What cannot be removed stays for the next writer to remove: the first error is the one to be told."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(str(path), ignore_errors=True)
    elif path.exists():
        with suppress(OSError):
            path.unlink()


def _exchange(aside: Path, folder: Path) -> None:
    """Let two folders change places, in one step where the C library and the file system can."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    places = (AT_CURRENT_FOLDER, os.fsencode(str(aside)), AT_CURRENT_FOLDER, os.fsencode(str(folder)))
    if rename is not None and rename(*places, EXCHANGE) == 0:
        return
    with _hold_aside(folder, Path.mkdir) as old:
        folder.rename(old)  # over an empty folder
        try:
            aside.rename(folder)
        except OSError:
            old.rename(folder)
            raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One holder of a folder at a time; it leaves nothing in it."""
    descriptor = os.open(str(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _wait_for_turn(descriptor, folder)
        yield
    finally:
        _release(descriptor)


def _release(descriptor: int) -> None:
    _held.discard(descriptor)
    os.close(descriptor)


def _wait_for_turn(descriptor: int, path: Path) -> None:
    _held.add(descriptor)
    deadline = time.monotonic() + TURN_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                reason = f"another process has locked it for {TURN_S:g} s"
                raise OSError(errno.EBUSY, reason, str(path)) from error
        time.sleep(TURN_POLL_S)


def flush(path: Path) -> None:
    """Have the system write a file or folder to the disk."""
    descriptor = os.open(str(path), os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
