"""One writer a folder."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from optimizer.errors import InputError

__all__ = ["take_lock"]


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
        raise InputError(f"another process is working on {folder}; wait for it or stop it") from error
    return file
