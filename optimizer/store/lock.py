"""One writer a folder."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from optimizer.errors import InputError

__all__ = ["take_lock", "wait_for_lock"]

POLL_S = 5.0


class FolderBusy(InputError):
    """Another process holds the lock of a folder."""


def take_lock(folder: Path) -> IO[str]:
    """An exclusive lock that the kernel frees when this process ends, however it ends."""
    try:
        file = (folder / ".lock").open("a")
    except OSError as error:
        raise InputError(f"cannot write in {folder}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise FolderBusy(f"another process is working on {folder}; wait for it or stop it") from error
    return file


@contextmanager
def wait_for_lock(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock, after whoever holds it now; `say` takes a line if there is somebody."""
    said = False
    while True:
        try:
            file = take_lock(folder)
            break
        except FolderBusy:
            if not said:
                say(f"waiting for another process that is working on {folder}")
            said = True
            time.sleep(POLL_S)
    with file:
        yield
