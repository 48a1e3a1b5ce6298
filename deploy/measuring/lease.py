"""One measurement at a time on a device: whoever times holds the device's lock."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator

from deploy.errors import MeasurementError
from deploy.locks import LockBusy, wait_for_lock

__all__ = ["lease_device"]

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
    try:
        lock = wait_for_lock(
            path,
            timeout_s,
            lambda holder: report(f"waiting for process {holder}, which measures on {target}"),
            for_all_users=True,
        )
    except LockBusy as busy:
        raise MeasurementError(
            f"target {target!r} is being measured by process {busy.holder}; waited {timeout_s:g} s: measure again "
            "when it has finished"
        ) from busy
    except OSError as error:
        raise MeasurementError(f"the lock {path} of the device cannot be opened: {error}") from error
    with lock:
        yield lock.fileno()
