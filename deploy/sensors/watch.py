"""Sensors read at an interval by a child process, so that the process with the clock does nothing else."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
from time import monotonic
from typing import IO

from deploy.child import describe_child, describe_environment
from deploy.sensors.base import Reading, Sample, merge_readings
from deploy.sensors.catalogue import open_sensors
from deploy.sensors.nvml import find_nvml

__all__ = ["Watch", "parse_samples", "read_now"]

CHILD = "from deploy.sensors.watch import answer_watch; answer_watch()"
START_TIMEOUT_S = 10.0


class Watch:
    """``with Watch(gpu, interval_s) as watch: ...``; then `samples` holds what was read, and `note` what went wrong.

    A machine on which nothing can be read gets no child and no samples.
    """

    def __init__(self, gpu: bool, interval_s: float) -> None:
        self._arguments = ("gpu" if gpu else "cpu", str(interval_s))
        self.start = read_now(gpu)
        self.samples: list[Sample] = []
        self.note: str | None = None
        if gpu and self.start.gpu_mhz is None:
            self.note = _explain_missing_gpu()
        self._child: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def __enter__(self) -> Watch:
        if self.start == Reading():
            return self
        self._output, self._errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self._child = subprocess.Popen(
            describe_child(CHILD, *self._arguments),
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=self._errors,
            env=describe_environment(),
        )
        deadline = monotonic() + START_TIMEOUT_S  # its start-up costs a core; nothing is timed before that is over
        while monotonic() < deadline and self._child.poll() is None and self._output.seek(0, 2) == 0:
            select.select([], [], [], 0.02)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._child is None or self._output is None or self._errors is None:
            return
        assert self._child.stdin is not None
        self._child.stdin.close()  # the child's sign to end
        try:
            status = self._child.wait(timeout=START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            status = self._child.wait()
        self._output.seek(0)
        self._errors.seek(0)
        self.samples = parse_samples(self._output.read().decode(errors="replace"))
        if status != 0:
            last = (self._errors.read().decode(errors="replace").strip().splitlines() or ["no message"])[-1]
            self.note = f"the sensors stopped early: {last}"
        self._output.close()
        self._errors.close()


def _explain_missing_gpu() -> str | None:
    """Why the clocks of the GPU are not among what is read, if it is for want of a package."""
    try:
        find_nvml()
    except OSError as error:
        return f"the GPU's sensors were not read: {error}"
    return None


def read_now(gpu: bool) -> Reading:
    """One look at this machine, and at its GPU if asked."""
    sensors = open_sensors(gpu, 0.1)
    try:
        return merge_readings(sensor.read() for sensor in sensors)
    finally:
        for sensor in sensors:
            sensor.close()


def parse_samples(text: str) -> list[Sample]:
    """A child's lines; a last one that was cut off is left out."""
    samples = []
    for line in text.split("\n")[:-1]:
        at_s, values = json.loads(line)
        reading = Reading(*values)
        throttle = None if reading.throttle is None else tuple(reading.throttle)
        samples.append(Sample(at_s, reading._replace(throttle=throttle)))
    return samples


def answer_watch() -> None:
    """The child's whole life: a line a reading, until its stdin is closed, which also happens if its parent dies."""
    gpu, interval_s = sys.argv[1] == "gpu", float(sys.argv[2])
    sensors = open_sensors(gpu, interval_s)
    try:
        while True:
            print(json.dumps([monotonic(), merge_readings(sensor.read() for sensor in sensors)]), flush=True)
            if select.select([sys.stdin], [], [], interval_s)[0]:
                break
        print(json.dumps([monotonic(), merge_readings(sensor.read() for sensor in sensors)]), flush=True)
    finally:
        for sensor in sensors:
            sensor.close()
