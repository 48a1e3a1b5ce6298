"""Which sensors there are, and which of them this machine has."""

from __future__ import annotations

import shutil
from pathlib import Path

from deploy.sensors.base import Sensor
from deploy.sensors.nvml import NvmlSensor
from deploy.sensors.rapl import RaplSensor, find_counters
from deploy.sensors.sysfs import SysfsSensor
from deploy.sensors.tegra import TegrastatsSensor

__all__ = ["count_gpu_processes", "list_counters", "open_sensors"]

SYSFS = Path("/sys")


def open_sensors(gpu: bool, interval_s: float) -> list[Sensor]:
    """What can be read here, the most exact first; ``gpu`` is whether models are timed on one."""
    sensors: list[Sensor] = []
    nvml = _open_nvml() if gpu else None
    if nvml is not None:
        sensors.append(nvml)
    sysfs = SysfsSensor(SYSFS)
    sensors.append(sysfs)
    if not gpu:  # where models run on a GPU, what the CPU draws is not their energy
        sensors.append(RaplSensor(SYSFS))
    found = sysfs.read()
    if shutil.which("tegrastats") and None in (found.power_mw, found.gpu_mhz, found.temperature_c):
        sensors.append(TegrastatsSensor(interval_s))
    return sensors


def list_counters() -> list[Path]:
    """Files of the CPUs' energy, whether or not this user may read them."""
    return find_counters(SYSFS)


def count_gpu_processes() -> int | None:
    """Processes that compute on the GPU now; None where no driver tells."""
    nvml = _open_nvml()
    if nvml is None:
        return None
    try:
        return nvml.count_processes()
    finally:
        nvml.close()


def _open_nvml() -> NvmlSensor | None:
    try:
        return NvmlSensor()
    except OSError:  # no driver here, or not the package that asks it
        return None
