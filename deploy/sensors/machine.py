"""What the system says of a machine: cores, memory, load, the CPU's name and governor."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

__all__ = [
    "count_physical_cores", "read_available_bytes", "read_busy_share", "read_cpu_name", "read_governor",
    "read_peak_bytes",
]  # fmt: skip

CPU_INFO = Path("/proc/cpuinfo")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
PROC_STAT = Path("/proc/stat")
MEMORY_INFO = Path("/proc/meminfo")
OWN_STATUS = Path("/proc/self/status")


def count_physical_cores() -> int:
    """Physical cores this process may run on: less than the machine's under an affinity mask or a container's quota."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = len(_list_physical_cores(allowed)) or len(allowed)
    quota = (_read_line(CGROUP_QUOTA) or "max").split()
    if len(quota) == 2 and quota[0] != "max":
        cores = min(cores, max(1, round(int(quota[0]) / int(quota[1]))))
    return cores


def read_busy_share(seconds: float = 0.1) -> float | None:
    """The share 0..1 of all cores that is at work while this process waits; None where the system does not tell."""
    before = _read_cpu_times()
    time.sleep(seconds)
    after = _read_cpu_times()
    if before is None or after is None or after[1] <= before[1]:
        return None
    return (after[0] - before[0]) / (after[1] - before[1])


def read_available_bytes() -> int | None:
    """Memory of this machine that is free or can be made so; None where the system does not tell."""
    for line in _read_text(MEMORY_INFO).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def read_peak_bytes() -> int | None:
    """The most memory that this process has had resident so far; None where the system does not tell."""
    for line in _read_text(OWN_STATUS).splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def read_cpu_name() -> str:
    """The CPU as the system calls it, and the kind of machine."""
    fields = _parse_fields(_read_text(CPU_INFO))
    name = fields.get("model name") or fields.get("Model") or fields.get("Hardware") or platform.processor()
    return f"{name} ({platform.machine()})" if name else platform.machine()


def read_governor() -> str | None:
    """The CPU's frequency governor; None where the system does not tell."""
    return _read_line(GOVERNOR)


def _list_physical_cores(allowed: set[int]) -> set[tuple[str, str]]:
    cores = set()
    for entry in _read_text(CPU_INFO).split("\n\n"):
        fields = _parse_fields(entry)
        if "core id" in fields and int(fields.get("processor", "-1")) in allowed:
            cores.add((fields.get("physical id", "0"), fields["core id"]))
    return cores


def _parse_fields(text: str) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _read_cpu_times() -> tuple[float, float] | None:
    """(busy, all) clock ticks since the start, over all cores."""
    line = _read_line(PROC_STAT)
    if line is None or not line.startswith("cpu "):
        return None
    ticks = [float(value) for value in line.split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _read_line(path: Path) -> str | None:
    text = _read_text(path)
    return text.splitlines()[0].strip() if text.strip() else None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
