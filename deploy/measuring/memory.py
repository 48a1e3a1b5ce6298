"""Peak memory of a model: a process of its own opens it, runs it on a few images, and says how much that took."""

from __future__ import annotations

from typing import Any, Mapping

from deploy.child import Say, ask_child
from deploy.measuring.request import MeasuringRequest
from deploy.measuring.timing import Runner
from deploy.pipeline.sources import iterate_images
from deploy.sensors.machine import read_peak_bytes
from deploy.sensors.nvml import NvmlSensor

__all__ = ["answer_peak", "explain_unreadable", "measure_peak"]

TASK = "deploy.measuring.memory:answer_peak"
MIB = 1 << 20


def measure_peak(request: MeasuringRequest, lock: int) -> float | None:
    """MiB that the one model of a request takes at most; None where this machine does not tell.

    On a CPU it is the resident memory of a process that does nothing else, interpreter and engine included: what a
    device has to have free. On a GPU it is the memory of that GPU which is in use after the runs and was free before.

    Raises:
        DeployError: the model cannot be opened or run, or it ended its process.
    """
    answer = ask_child(TASK, request.to_json(), lambda message: None, (lock,))
    return None if answer is None else round(float(answer) / MIB, 2)


def answer_peak(request: Mapping[str, Any], say: Say) -> int | None:
    """Bytes, for a process of its own."""
    asked = MeasuringRequest.from_json(request)
    (source,), rules = asked.subjects.values(), asked.rules
    files = asked.images[: rules.peak_runs]
    images = [frame.image for frame in iterate_images(files, lambda line: None)] if files else []
    sensor = _open_sensor() if asked.setup.uses_gpu else None
    before = sensor.read_used_bytes() if sensor is not None else None
    runner = Runner(source, images, asked.setup, rules.effort)
    most = 0
    for _ in range(rules.peak_runs):
        runner.run()
        most = max(most, (sensor.read_used_bytes() or 0) if sensor is not None else 0)
    runner.close()
    if asked.setup.uses_gpu:
        return most - before if before is not None and most > before else None
    return read_peak_bytes()


def explain_unreadable(uses_gpu: bool) -> str:
    """Why this machine does not tell how much memory a model takes; empty where it does."""
    if not uses_gpu:
        return "" if read_peak_bytes() is not None else "this system does not tell the peak memory of a process"
    try:
        sensor = NvmlSensor()
    except OSError as error:
        return str(error)
    try:
        return "" if sensor.read_used_bytes() is not None else "the driver does not tell how much memory is in use"
    finally:
        sensor.close()


def _open_sensor() -> NvmlSensor | None:
    try:
        return NvmlSensor()
    except OSError:
        return None
