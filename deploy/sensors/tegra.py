"""A Jetson's own tools: `tegrastats` for what its kernel does not show in files, `nvpmodel` for the power mode.

Formats: Jetson Linux Developer Guide, "Tegrastats Utility" and "Power Mode Controls". Never executed on a Jetson.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess

from deploy.sensors.base import Reading
from deploy.sensors.sysfs import INPUT_RAILS

__all__ = ["TegrastatsSensor", "parse_power_mode", "parse_tegrastats", "read_power_mode"]

CPU = re.compile(r"\bCPU \[([^\]]*)\]")
CLOCK = re.compile(r"\d+%@\[?(\d+)")
GPU = re.compile(r"\bGR3D_FREQ \d+%@\[?(\d+)")
MEMORY = re.compile(r"\bEMC_FREQ \d+%@(\d+)")
TEMPERATURE = re.compile(r"\b(\w+)@(-?\d+(?:\.\d+)?)C\b")
JUNCTION, BOARD = "tj", ("pmic", "tboard", "tdiode")
POWER_MODE = re.compile(r"NV Power Mode:\s*(\S.*)")
NVPMODEL_TIMEOUT_S = 5.0
FIRST_LINE_S = 2.0


class TegrastatsSensor:
    """The last line of a `tegrastats` that runs beside; it is ended by `close`.

    Its first line is waited for, so that a reading says what there is to read and not that nothing came yet.
    """

    def __init__(self, interval_s: float, program: str = "tegrastats") -> None:
        command = [program, "--interval", str(max(1, round(interval_s * 1000)))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout.fileno()
        os.set_blocking(self._output, False)
        select.select([self._output], [], [], interval_s + FIRST_LINE_S)
        self._pending = b""
        self._last = Reading()

    def read(self) -> Reading:
        """The newest whole line; nothing once the program has ended."""
        try:
            while True:
                chunk = os.read(self._output, 65536)
                if not chunk:
                    self._last = Reading()
                    break
                self._pending += chunk
        except BlockingIOError:
            pass
        lines = self._pending.split(b"\n")
        self._pending = lines.pop()
        if lines:
            self._last = parse_tegrastats(lines[-1].decode(errors="replace"))
        return self._last

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def parse_tegrastats(line: str) -> Reading:
    """What a line tells: clocks in MHz, the hottest of the parts that compute, the input rail's power now."""
    cpu = CPU.search(line)
    cpu_clocks = [float(value) for value in CLOCK.findall(cpu.group(1))] if cpu else []
    temperatures = {name.lower(): float(value) for name, value in TEMPERATURE.findall(line)}
    inside = [value for name, value in temperatures.items() if name not in BOARD and value > -60]
    return Reading(
        temperature_c=temperatures.get(JUNCTION, max(inside, default=None)),
        cpu_mhz=max(cpu_clocks, default=None),
        gpu_mhz=_find_number(GPU, line),
        memory_mhz=_find_number(MEMORY, line),
        power_mw=_find_power(line),
    )


def read_power_mode() -> str | None:
    """The mode that `nvpmodel -q` names; None where there is no such program, or it does not say."""
    program = shutil.which("nvpmodel")
    if program is None:
        return None
    try:
        answer = subprocess.run(
            [program, "-q"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, timeout=NVPMODEL_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_power_mode(answer.stdout)


def parse_power_mode(text: str) -> str | None:
    """The name in the answer of `nvpmodel -q`."""
    found = POWER_MODE.search(text)
    return found.group(1).strip() if found else None


def _find_power(line: str) -> float | None:
    """Milliwatts now, the first of "now/average"; older releases leave the unit out."""
    for rail in INPUT_RAILS:
        found = re.search(rf"\b{rail} (\d+)(?:mW)?/\d+", line)
        if found:
            return float(found.group(1))
    return None


def _find_number(pattern: re.Pattern[str], line: str) -> float | None:
    found = pattern.search(line)
    return float(found.group(1)) if found else None
