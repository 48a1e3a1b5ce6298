"""Building a plan in a child process: bounded in memory and time, tried twice, everything recorded."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Mapping

from deploy.builders.plans import (
    SEARCH_LEVEL,
    BuildSettings,
    Plan,
    PlanKey,
    Platform,
    find_plan,
    lock_plans,
    plan_folder,
    read_plan,
    write_plan,
)
from deploy.errors import EngineError, InputError
from deploy.files import hash_file
from deploy.sensors.machine import read_available_bytes
from deploy.sensors.tegra import read_power_mode

__all__ = ["BuildLimits", "build_plan", "open_plan"]

MIB = 1 << 20
POLL_S = 0.1
LOWER_BY = 2  # levels, for the second try
LOG_FILE = "build.log"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildLimits:
    """What a build may take of a machine.

    Attributes:
        seconds: for each of its two tries.
        reserve_bytes: of memory that have to stay available to the system; a build that leaves less is ended, before
            the system ends something else.
    """

    seconds: float = 1800.0
    reserve_bytes: int = 256 * MIB


def open_plan(
    model: Path,
    platform: Platform,
    level: int | None = None,
    folder: str | Path | None = None,
    limits: BuildLimits = BuildLimits(),
) -> Plan:
    """The plan of a model for this platform: one that fits, or a new one.

    Args:
        level: of the builder's effort; None takes the best plan there is, and else builds at `SEARCH_LEVEL`.
        folder: where plans are kept, as in `plan_folder`.

    Raises:
        InputError: TensorRT does not take the model.
        EngineError: the build failed twice, or made something else than was asked.
    """
    place = plan_folder(folder)
    with lock_plans(place):
        if level is None:
            plan = read_plan(place, model, platform)
            if plan is not None:
                return plan
        key = PlanKey(hash_file(model), platform, BuildSettings(SEARCH_LEVEL if level is None else level))
        plan, why = find_plan(place, key)
        if plan is not None:
            return plan
        logger.info("building a TensorRT plan of %s: %s", model, why)
        return build_plan(model, key, place, limits)


def build_plan(model: Path, key: PlanKey, folder: Path, limits: BuildLimits = BuildLimits()) -> Plan:
    """Build a plan and keep it; a second try, in a fresh process, asks for less effort. Raises as `open_plan` does."""
    attempts: list[dict[str, Any]] = []
    for level in (key.settings.level, max(0, key.settings.level - LOWER_BY)):
        with tempfile.TemporaryDirectory(prefix="build-", dir=str(folder)) as scratch:
            attempt = _try_build(model, replace(key.settings, level=level), key.platform, Path(scratch), limits)
            _keep_log(Path(scratch), folder, attempt, first=not attempts)
            attempts.append(attempt)
            answer = attempt.pop("answer")
            if attempt["outcome"] == "built":
                record = {"attempts": attempts, "level": level, "power_mode": read_power_mode(), **answer}
                if level != key.settings.level:
                    record["labels"] = [
                        *record["labels"],
                        f"built at level {level}, not {key.settings.level}",
                    ]
                for label in record["labels"]:
                    logger.warning("%s: %s", model.name, label)
                return write_plan(folder, key, (Path(scratch) / "model.plan").read_bytes(), record)
            if answer.get("kind") == "input":
                raise InputError(attempt["outcome"])
            if answer.get("kind") == "refused":
                raise EngineError(attempt["outcome"])
            logger.warning("%s, level %d: %s", model.name, level, attempt["outcome"])
    raise EngineError(
        "no TensorRT plan of {}: {}; then, at level {}: {} (details in {})".format(
            model, attempts[0]["outcome"], level, attempts[1]["outcome"], folder / LOG_FILE
        )
    )


def name_timing_cache(platform: Platform, power_mode: str | None) -> str:
    """The file of timings that hold on one device, with one TensorRT, in one power mode."""
    text = json.dumps([asdict(platform), power_mode], sort_keys=True)
    return f"timing-{hashlib.sha256(text.encode()).hexdigest()[:16]}.cache"


def _try_build(
    model: Path, settings: BuildSettings, platform: Platform, scratch: Path, limits: BuildLimits
) -> dict[str, Any]:
    """One child's life: its outcome ("built" or what went wrong), its answer, and what was seen of the machine."""
    request = {
        "model": str(model.resolve()),
        "plan": str(scratch / "model.plan"),
        "answer": str(scratch / "answer.json"),
        "timing_cache": str(scratch.parent / name_timing_cache(platform, read_power_mode())),
        **asdict(settings),
    }
    package = str(Path(__file__).parents[2])  # a folder, or detect.pyz itself
    paths = [package] + [path for path in (os.environ.get("PYTHONPATH"),) if path]
    started, available = time.monotonic(), read_available_bytes()
    with (scratch / LOG_FILE).open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "deploy.builders.trt"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,
        )
        try:
            fault, lowest = _watch(child, json.dumps(request).encode(), limits, available)
        finally:
            _end(child)
    answer: dict[str, Any] = {}
    if fault is None:
        try:
            answer = json.loads((scratch / "answer.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            fault = f"the building process {_describe_exit(child.returncode)}"
    return {
        "level": settings.level,
        "outcome": fault or answer.get("error", "built"),
        "seconds": round(time.monotonic() - started, 2),
        "available_bytes_at_start": available,
        "lowest_available_bytes": lowest,
        "answer": answer,
    }


def _watch(child: Any, request: bytes, limits: BuildLimits, lowest: int | None) -> tuple[str | None, int | None]:
    """Wait for a child to end; why it is to be ended instead, or None, and the least memory that was available."""
    deadline = time.monotonic() + limits.seconds
    try:
        child.stdin.write(request)
        child.stdin.close()
    except BrokenPipeError:
        pass  # it has ended already; its exit code says how
    while child.poll() is None:
        available = read_available_bytes()
        if available is not None and lowest is not None:
            lowest = min(lowest, available)
            if available < limits.reserve_bytes:
                left, reserve = available // MIB, limits.reserve_bytes // MIB
                fault = f"the build was ended: it left {left} MiB of memory, and {reserve} are to stay free"
                return fault, lowest
        if time.monotonic() >= deadline:
            return f"the build was ended: it took longer than {limits.seconds:g} s", lowest
        time.sleep(POLL_S)
    return None, lowest


def _end(child: Any) -> None:
    """End a child and what it started, where it has not ended by itself."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"ended with {code} and no answer"
    names = {item.value: item.name for item in signal.Signals}
    hint = ": the system may have run out of memory" if -code == signal.SIGKILL else ""
    return "was killed by {}{}".format(names.get(-code, f"signal {-code}"), hint)


def _keep_log(scratch: Path, folder: Path, attempt: Mapping[str, Any], first: bool) -> None:
    """Both tries of the last build, in one file beside the plans."""
    with (folder / LOG_FILE).open("wb" if first else "ab") as file:
        file.write("level {}: {}\n".format(attempt["level"], attempt["outcome"]).encode())
        file.write((scratch / LOG_FILE).read_bytes())
