"""Locks between processes: files that the system unlocks once their holder ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
import weakref
from pathlib import Path
from typing import BinaryIO, Callable

__all__ = ["LONGEST_WAIT_S", "LockBusy", "take_lock", "wait_for_lock"]

POLL_S = 0.1
LONGEST_WAIT_S = 24 * 3600.0  # nothing is waited for without limit
ONE_PLACE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # no link is followed, no pipe waited for, no child given it

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
        holder = _read_holder(file)
        file.close()
        raise LockBusy(path, holder) from error
    try:
        os.ftruncate(file.fileno(), 0)
        os.pwrite(file.fileno(), str(os.getpid()).encode(), 0)
    except OSError:
        pass  # another user's file: it can be locked, not written
    return file


def wait_for_lock(
    path: Path,
    timeout_s: float = LONGEST_WAIT_S,
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


def _read_holder(file: BinaryIO) -> str:
    """The number of a process; whoever may write to the file may have written anything else into it."""
    found = os.pread(file.fileno(), 20, 0)
    return found.decode() if found.isdigit() else "unknown"


def _open_lock(path: str, flags: int) -> int:
    """Open for reading and writing; another user's file for reading alone, which is enough to lock it."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | ONE_PLACE, 0o666)
    except PermissionError as error:
        try:
            return os.open(path, os.O_RDONLY | ONE_PLACE)
        except FileNotFoundError:
            raise error from None
