"""One writer a folder: `deploy.files` locks, and what is wrong is said in the words of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from deploy import files
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
            return files.take_lock(folder / LOCK)
    except files.LockBusy as error:
        raise FolderBusy(f"another process is working on {folder}; wait for it or stop it") from error


@contextmanager
def wait_for_lock(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock, after whoever holds it now; `say` takes a line if there is somebody."""
    with _explained(folder):
        file = files.wait_for_lock(
            folder / LOCK, report=lambda holder: say(f"waiting for another process that is working on {folder}")
        )
    with file:
        yield


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write in {folder}: {error.strerror}") from error
