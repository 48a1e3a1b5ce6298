"""Rows that run beside each other, and stop while one of them measures."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from deploy import MeasurementFailure
from optimizer.cost.base import Candidate, CostMeter, RelativeCost


@dataclass(frozen=True)
class QuietMeter:
    """Measures while the other rows are stopped."""

    meter: CostMeter
    out: Path

    def measure(self, student: Candidate, base: Candidate) -> RelativeCost:
        with quiet(self.out):
            return self.meter.measure(student, base)

    def measure_all(self, candidates: Mapping[int, Candidate]) -> dict[int, RelativeCost | MeasurementFailure]:
        with quiet(self.out):
            return self.meter.measure_all(candidates)


@contextmanager
def registered(out: Path) -> Iterator[None]:
    """This process is among those that a measurement stops, for as long as it holds its mark's lock."""
    mark = out / "pids" / str(os.getpid())
    mark.parent.mkdir(parents=True, exist_ok=True)
    with mark.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            mark.unlink(missing_ok=True)


@contextmanager
def quiet(out: Path) -> Iterator[None]:
    """The other rows are stopped meanwhile, and one row measures at a time."""
    with (out / "measuring.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        others = [pid for pid in list_running(out) if pid != os.getpid()]
        try:
            send(signal.SIGSTOP, others)
            yield
        finally:
            send(signal.SIGCONT, others)


def list_running(out: Path) -> list[int]:
    """Processes whose mark is locked; a mark that nobody holds is of one that was killed, and goes."""
    running = []
    for mark in (out / "pids").glob("*"):
        with suppress(FileNotFoundError), mark.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                mark.unlink()
            except BlockingIOError:
                running.append(int(mark.name))
    return running


def send(number: int, pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it has ended
            os.kill(pid, number)
