"""How a run ends early and says so: signals, a board that vanishes, its log and its clock."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from deploy.errors import BoardError
from deploy.files import open_to_append
from deploy.foreign import LINE_LIMIT, make_printable
from optimizer.errors import Interrupted, RunFailed
from optimizer.store.run_store import RunStore

__all__ = ["clocked", "interruptible", "logged", "stoppable"]

log = logging.getLogger("detopt")


@contextmanager
def logged(folder: Path) -> Iterator[None]:
    """Everything said, and the traceback of what should not happen, is in `log.txt`, as far as the disk takes it."""
    stream = os.fdopen(open_to_append(folder / "log.txt"), "a", encoding="utf-8", errors="backslashreplace")
    handler = _Log(stream)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s"))
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield
    except Exception:
        log.exception("the run stopped")
        raise
    finally:
        log.removeHandler(handler)
        with suppress(OSError):
            stream.close()


class _Log(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk ends a run where it loses something, with one line, and not here with a traceback."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class _OneLine(logging.Formatter):
    """A message is one line, whatever a file in it is called; only a traceback has more."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return make_printable(super().formatMessage(record), LINE_LIMIT)


@contextmanager
def clocked(store: RunStore) -> Iterator[Callable[[], float]]:
    """Yields a function that adds the time since its last call to the run's clock and returns the sum."""
    last = time.monotonic()

    def tick() -> float:
        nonlocal last
        now = time.monotonic()
        store.elapsed_seconds += now - last
        last = now
        return store.elapsed_seconds

    try:
        yield tick
    finally:
        tick()


@contextmanager
def stoppable(store: RunStore) -> Iterator[None]:
    """A run that is stopped says so in its database, and how to go on."""
    try:
        with interruptible(f"optimize resume {store.folder}"):
            yield
    except Interrupted:
        store.status = "interrupted"
        store.log_event("interrupted")
        raise
    except BoardError as error:
        store.status = "paused"
        store.log_event("paused")
        raise RunFailed(
            f"{error}; nothing found is lost. When the board is back, go on with: optimize resume {store.folder}"
        ) from error


@contextmanager
def interruptible(how_to_go_on: str) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a terminal that goes away end the work between two transactions, as `Interrupted`."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    in_main = threading.current_thread() is threading.main_thread()  # signals can be caught nowhere else
    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if in_main and signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` wants it
            before[number] = signal.signal(number, stop)
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(f"stopped; nothing found is lost. Go on with: {how_to_go_on}") from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
