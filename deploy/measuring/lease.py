"""One measurement at a time on a device: whoever times holds the device's lock."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator

from deploy.errors import MeasurementError

__all__ = ["lease_device"]

POLL_S = 0.1
LOCK = "detopt-measuring.lock"


@contextmanager
def lease_device(
    target: str, timeout_s: float = 600.0, report: Callable[[str], None] = lambda line: None
) -> Iterator[int]:
    """Hold this machine for oneself, among all its processes; the system frees it if the holder dies.

    There is one lock a machine, whatever its targets are called: they share its memory, its power and its clocks.
    Gives the lock's file descriptor: a child that inherits it keeps the lock for as long as it lives.

    Raises:
        MeasurementError: another process holds it for longer than ``timeout_s``; its number is named.
    """
    path = Path(tempfile.gettempdir()) / LOCK
    descriptor = _open_lock(path)
    try:
        _wait_for_lock(descriptor, target, timeout_s, report)
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except OSError:
            pass  # another user's lock file: it can be held, not written; the number in it is only for messages
        yield descriptor
    finally:
        os.close(descriptor)


def _open_lock(path: Path) -> int:
    try:
        return os.open(str(path), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except PermissionError:
        return os.open(str(path), os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise MeasurementError(f"the lock {path} of the device cannot be opened: {error}") from error


def _wait_for_lock(descriptor: int, target: str, timeout_s: float, report: Callable[[str], None]) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        if time.monotonic() >= deadline:
            raise MeasurementError(
                f"target {target!r} is being measured by process {holder}; waited {timeout_s:g} s: measure again "
                "when it has finished"
            )
        report(f"waiting for process {holder}, which measures on {target}")
        time.sleep(POLL_S)
