"""Files that are whole, hashes of them, and locks: whatever both packages write goes through here."""

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
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Callable, Iterator

__all__ = [
    "LockBusy",
    "flush",
    "hash_file",
    "open_to_append",
    "replace_file",
    "replace_folder",
    "take_lock",
    "wait_for_lock",
    "write_file",
]

PART = ".part"  # how the name of a file ends that is being written
POLL_S = 0.1
ONE_PLACE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # no link is followed, no pipe waited for, no child given it
AT_CURRENT_FOLDER, EXCHANGE = -100, 2  # of renameat2


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def write_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file whole or not at all, as `replace_file` does."""
    with replace_file(path, mode) as aside:
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
    folder.parent.mkdir(parents=True, exist_ok=True)
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


_held: weakref.WeakSet[BinaryIO] = weakref.WeakSet()  # locks of this process


def _let_go() -> None:
    """A forked child has its own descriptors of this process's locks, which would outlive the holder."""
    for file in list(_held):
        file.close()


os.register_at_fork(after_in_child=_let_go)


class LockBusy(Exception):
    """Another process holds a lock. ``holder`` is its number as text, or "unknown"; only for messages."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"process {holder} holds the lock {path}")
        self.holder = holder


def take_lock(path: Path, *, for_all_users: bool = False) -> BinaryIO:
    """Lock a file, which is made if it is not there; the lock is free again once the result is closed.

    The system closes it when this process ends, however it ends. A child that is handed the file descriptor (the
    ``pass_fds`` of `subprocess`) keeps the lock for as long as it lives; one that is forked does not.

    Args:
        for_all_users: whether every user may take it, whatever the mask of the one whose process made the file.

    Raises:
        LockBusy: another process holds it.
        OSError: the file cannot be opened, or is a link or no plain file.
    """
    file = open(str(path), "rb", buffering=0, opener=_open_lock)  # noqa: SIM115 (the caller closes it)
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        file.close()
        raise OSError(errno.EINVAL, "no plain file", str(path))
    if for_all_users and status.st_uid == os.geteuid() and status.st_mode & 0o666 != 0o666:
        os.fchmod(file.fileno(), 0o666)
    _held.add(file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(file.fileno(), 32, 0).decode(errors="replace").strip()
        file.close()
        raise LockBusy(path, holder or "unknown") from error
    try:
        os.ftruncate(file.fileno(), 0)
        os.pwrite(file.fileno(), str(os.getpid()).encode(), 0)
    except OSError:
        pass  # another user's file: it can be locked, not written
    return file


def wait_for_lock(
    path: Path,
    timeout_s: float = float("inf"),
    report: Callable[[str], None] = lambda holder: None,
    *,
    for_all_users: bool = False,
) -> BinaryIO:
    """`take_lock`, once whoever holds it has finished.

    Args:
        report: told who is being waited for, once for each holder.

    Raises:
        LockBusy: it was held for longer than ``timeout_s``.
    """
    deadline, waited_for = time.monotonic() + timeout_s, ""
    while True:
        try:
            return take_lock(path, for_all_users=for_all_users)
        except LockBusy as busy:
            if time.monotonic() >= deadline:
                raise
            if busy.holder != waited_for:
                report(busy.holder)
            waited_for = busy.holder
        time.sleep(POLL_S)


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
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if aside.exists():
                yield aside
                return
        finally:
            _remove(aside)
            os.close(descriptor)


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
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(str(path), ignore_errors=True)
    elif path.exists():
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
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def flush(path: Path) -> None:
    """Have the system write a file or folder to the disk."""
    descriptor = os.open(str(path), os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_lock(path: str, flags: int) -> int:
    """Open for reading and writing; another user's file for reading alone, which is enough to lock it."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | ONE_PLACE, 0o666)
    except PermissionError as error:
        try:
            return os.open(path, os.O_RDONLY | ONE_PLACE)
        except FileNotFoundError:
            raise error from None
