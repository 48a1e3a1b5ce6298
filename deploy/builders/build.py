"""Building a plan in a child process: bounded in memory and time, tried twice, everything recorded."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Mapping

from deploy.builders.plans import SEARCH_LEVEL, find_best_plan, find_plan, lock_plans, plan_folder, write_plan
from deploy.child import ask_child
from deploy.engines import get_engine
from deploy.engines.base import check_model_file
from deploy.engines.plan import BuildSettings, Plan, PlanKey, Platform
from deploy.engines.tensorrt_library import RTX, TENSORRT
from deploy.errors import BuildError, ChildError, EngineError
from deploy.files import hash_file
from deploy.sensors.machine import read_available_bytes
from deploy.sensors.tegra import read_power_mode

__all__ = ["BuildLimits", "build_plan", "open_plan", "prepare_model"]

MIB = 1 << 20
LOWER_BY = 2  # levels, for the second try
PLAN, LOG = "model.plan", "build.log"
BUILDERS = {TENSORRT.name: "deploy.builders.trt:answer_build", RTX.name: "deploy.builders.rtx:answer_build"}
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


def prepare_model(
    model: str | Path,
    engine: str,
    effort: int | None = None,
    folder: str | Path | None = None,
    gpu: str | None = None,
) -> Path:
    """The file that `open_engine` opens: a model's plan, found or built, for an engine of plans; else the model itself.

    Args:
        effort, folder: of a plan, as of `open_plan`.
        gpu: what a plan is built for ahead of time, as "sm86"; None is the GPU of this machine.

    Raises:
        InputError: no such engine or file, or TensorRT does not take the model.
        EngineError: the engine's library is missing, there is no GPU, or no plan could be built.
    """
    path = check_model_file(model, "ONNX model")
    platform = get_engine(engine).read_platform(gpu)
    return path if platform is None else open_plan(path, platform, effort, folder).path


def open_plan(
    model: Path,
    platform: Platform,
    effort: int | None = None,
    folder: str | Path | None = None,
    limits: BuildLimits = BuildLimits(),
) -> Plan:
    """The plan of a model for this platform: one that fits, or a new one.

    Args:
        effort: the builder's optimisation level, a value of `EFFORTS`; None takes the best plan there is, and builds
            one at `SEARCH_LEVEL` if there is none.
        folder: where plans are kept, as in `plan_folder`.

    Raises:
        InputError: TensorRT does not take the model.
        EngineError: the build failed twice, or made something else than was asked.
    """
    place = plan_folder(folder)
    with lock_plans(place):
        if effort is None:
            plan = find_best_plan(place, model, platform)
            if plan is not None:
                return plan
        key = PlanKey(hash_file(model), platform, BuildSettings(SEARCH_LEVEL if effort is None else effort))
        plan, why = find_plan(place, key)
        if plan is not None:
            return plan
        logger.info("building a TensorRT plan of %s: %s", model, why)
        return build_plan(model, key, place, limits)


def build_plan(model: Path, key: PlanKey, folder: Path, limits: BuildLimits = BuildLimits()) -> Plan:
    """Build a plan and keep it; a second try, in a fresh process, asks for less effort. Raises as `open_plan` does."""
    attempts: list[dict[str, Any]] = []
    (folder / LOG).write_bytes(b"")
    for level in (key.settings.level, max(0, key.settings.level - LOWER_BY)):
        with tempfile.TemporaryDirectory(prefix="build-", dir=str(folder)) as scratch:
            settings = replace(key.settings, level=level)
            attempt, built = _try_build(model, replace(key, settings=settings), Path(scratch), limits)
            attempts.append(attempt)
            if built is None:
                logger.warning("%s, level %d: %s", model.name, level, attempt["outcome"])
                continue
            record = {
                "model": model.name, "attempts": attempts, "level": level, "power_mode": read_power_mode(), **built
            }  # fmt: skip
            if level != key.settings.level:
                record["labels"] = [*record["labels"], f"built at level {level}, not {key.settings.level}"]
            for label in record["labels"]:
                logger.warning("%s: %s", model.name, label)
            return write_plan(folder, key, (Path(scratch) / PLAN).read_bytes(), record)
    raise EngineError(
        f"no TensorRT plan of {model}: {attempts[0]['outcome']}; then, at level {level}: {attempts[1]['outcome']} "
        f"(details in {folder / LOG})"
    )


def name_timing_cache(platform: Platform, power_mode: str | None) -> str:
    """The file of timings that hold on one device, with one TensorRT, in one power mode."""
    text = json.dumps([asdict(platform), power_mode], sort_keys=True)
    return f"timing-{hashlib.sha256(text.encode()).hexdigest()[:16]}.cache"


class _Guard:
    """Ends a build that takes too long or leaves the system too little memory."""

    def __init__(self, limits: BuildLimits) -> None:
        self._limits, self.started = limits, time.monotonic()
        self.at_start = self.lowest = read_available_bytes()

    def __call__(self) -> None:
        if time.monotonic() - self.started >= self._limits.seconds:
            raise BuildError(f"the build was ended: it took longer than {self._limits.seconds:g} s")
        available = read_available_bytes()
        if available is None or self.lowest is None:
            return
        self.lowest = min(self.lowest, available)
        if available < self._limits.reserve_bytes:
            left, reserve = available // MIB, self._limits.reserve_bytes // MIB
            raise BuildError(f"the build was ended: it left {left} MiB of memory, and {reserve} are to stay free")


def _try_build(
    model: Path, key: PlanKey, scratch: Path, limits: BuildLimits
) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    """One process's life: what came of it and what was seen of the machine; then the build's record, None on a failure.

    A failure that less effort would not mend is raised.
    """
    folder, level = scratch.parent, key.settings.level
    request = {
        "model": str(model.resolve()),
        "plan": str(scratch / PLAN),
        "compute_capabilities": [key.platform.compute_capability],
        "timing_cache": str(folder / name_timing_cache(key.platform, read_power_mode())),
        **asdict(key.settings),
    }
    built, outcome, guard = None, "built", _Guard(limits)
    with (scratch / LOG).open("w+b") as log:
        try:
            built = ask_child(
                BUILDERS[key.platform.library], request, lambda message: None, watch=guard, complaints=log
            )
        except (BuildError, ChildError) as error:
            outcome = str(error)
        except Exception as error:
            outcome = str(error)
            raise
        finally:
            with (folder / LOG).open("ab") as file:  # both tries of the last build, in one file beside the plans
                file.write(f"level {level}: {outcome}\n".encode())
                file.write((scratch / LOG).read_bytes())
    return {
        "level": level,
        "outcome": outcome,
        "seconds": round(time.monotonic() - guard.started, 2),
        "available_bytes_at_start": guard.at_start,
        "lowest_available_bytes": guard.lowest,
    }, built
