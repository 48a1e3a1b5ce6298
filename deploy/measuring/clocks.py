"""Clocks held still while a device is measured, and the pause in which it cools.

`jetson_clocks` pins a Jetson's clocks to the highest of its power mode (Jetson Linux Developer Guide, "Maximizing
Jetson Performance"). It needs root, so it has to be asked for; what was before is stored and restored. Never executed
on a Jetson.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

from deploy.errors import InputError, MeasurementError
from deploy.sensors import Reading, read_now

__all__ = ["LOCK_CLOCKS", "Clocks", "check_clocks", "cool_down", "hold_clocks"]

LOCK_CLOCKS = ("auto", "never", "require")
PROGRAM = "jetson_clocks"
STORE = Path("/run/detopt-clocks.conf")  # only root writes there, and a restart, which resets clocks, empties it
TIMEOUT_S = 60.0
WARMER_C, COOL_DOWN_S, POLL_S = 5.0, 30.0, 1.0


class Clocks(NamedTuple):
    """Whether clocks are locked, and what a reader should know if they could have been."""

    locked: bool
    note: str | None = None


def check_clocks(policy: str) -> None:
    """Raises `InputError` for an unknown policy, or one that requires what cannot be done here; changes nothing."""
    if policy not in LOCK_CLOCKS:
        raise InputError(f"lock_clocks is one of {', '.join(LOCK_CLOCKS)}, not {policy!r}")
    obstacle = _find_obstacle()
    if policy == "require" and obstacle:
        raise InputError(f'the target has lock_clocks = "require", but {obstacle}; or say "auto" or "never"')


@contextmanager
def hold_clocks(policy: str, report: Callable[[str], None] = lambda line: None) -> Iterator[Clocks]:
    """Lock the clocks as the policy says, and restore what was there before, whatever happens inside.

    Raises:
        InputError: as `check_clocks`.
        MeasurementError: the clocks are required and their tool fails, or they cannot be restored.
    """
    check_clocks(policy)
    obstacle = _find_obstacle()
    if policy == "never" or obstacle:
        missed = policy == "auto" and shutil.which(PROGRAM) is not None
        yield Clocks(False, f"clocks were not locked: {obstacle}" if missed else None)
        return
    if STORE.exists():  # of a measurement that was killed: what it stored is what was there before
        report("restoring the clocks that an earlier measurement left locked")
        _run_tool(["--restore", str(STORE)])
        STORE.unlink()
    _run_tool(["--store", str(STORE)])
    try:
        report("locking the clocks")
        _run_tool([])
        yield Clocks(True)
    finally:
        _run_tool(["--restore", str(STORE)])
        STORE.unlink()


def cool_down(
    start_c: float | None,
    gpu: bool,
    report: Callable[[str], None],
    read: Callable[[bool], Reading] = read_now,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until the device is at most 5 C warmer than at the start, at most 30 s; not where nothing can be read."""
    waited = 0.0
    while start_c is not None and waited < COOL_DOWN_S:
        now_c = read(gpu).temperature_c
        if now_c is None or now_c <= start_c + WARMER_C:
            return
        report(f"cooling down: {now_c:.0f} C, {start_c:.0f} at the start")
        sleep(POLL_S)
        waited += POLL_S


def _find_obstacle() -> str | None:
    """Why clocks cannot be locked here; None where they can."""
    if shutil.which(PROGRAM) is None:
        return f"there is no {PROGRAM} on this machine (only a Jetson's clocks can be locked)"
    if os.geteuid() != 0:
        return f"{PROGRAM} needs root: measure as root"
    return None


def _run_tool(arguments: list[str]) -> None:
    command = [PROGRAM, *arguments]
    try:
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MeasurementError(f"{' '.join(command)} failed: {error}") from error
    if answer.returncode != 0:
        last = (answer.stdout.strip().splitlines() or ["no message"])[-1]
        raise MeasurementError(f"{' '.join(command)} ended with {answer.returncode}: {last}")
