"""One writer a folder: `deploy.locks` locks, and what is wrong is said in the words of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from deploy import locks
from optimizer.errors import InputError

__all__ = ["take_lock", "wait_for_lock"]

LOCK = ".lock"


class FolderBusy(InputError):
    """Another process holds the lock of a folder."""


def take_lock(folder: Path) -> BinaryIO:
    """An exclusive lock that the system frees when this process ends, however it ends.

    Raises:
        FolderBusy: another process holds it.
        InputError: the folder cannot be written in.
    """
    try:
        with _explained(folder):
            return locks.take_lock(folder / LOCK)
    except locks.LockBusy as error:
        raise FolderBusy(f"another process is working on {folder}; wait for it or stop it") from error


@contextmanager
def wait_for_lock(folder: Path, say: Callable[[str], None], timeout_s: float = locks.LONGEST_WAIT_S) -> Iterator[None]:
    """Hold the lock, after whoever holds it now; `say` takes a line if there is somebody.

    Raises:
        FolderBusy: somebody holds it for longer than `timeout_s`.
        InputError: the folder cannot be written in.
    """
    waiting = f"waiting for another process that is working on {folder}"
    try:
        with _explained(folder):
            file = locks.wait_for_lock(folder / LOCK, timeout_s, lambda holder: say(waiting))
    except locks.LockBusy as busy:
        raise FolderBusy(
            f"process {busy.holder} has been working on {folder} for {timeout_s:g} s; go on when it has finished, or "
            "end it"
        ) from busy
    with file:
        yield


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write in {folder}: {error.strerror}") from error
