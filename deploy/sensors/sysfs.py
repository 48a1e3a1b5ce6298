"""Clocks, temperatures and power as the Linux kernel shows them in files.

Documented in the kernel's Documentation/ABI (cpufreq, thermal, hwmon, devfreq, thermal_throttle) and, for the power
monitors and over-current counters of a Jetson, in NVIDIA's Jetson Linux Developer Guide, "Platform Power and
Performance".
"""

from __future__ import annotations

from pathlib import Path

from deploy.sensors.base import Reading

__all__ = ["SysfsSensor", "read_number", "read_text"]

ZONES = ("tj-thermal", "x86_pkg_temp", "cpu-thermal", "CPU-therm", "cpu_thermal", "soc-thermal")
CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
INPUT_RAILS = ("VDD_IN", "VIN", "POM_5V_IN")  # all that a module draws; the sum of others would be a guess
GPUS = ("*.gpu", "*.ga10b", "*.gv11b", "*.gp10b", "gpu-gpc-0")
COUNTERS = {
    "devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count": "cpu thermal",
    "class/hwmon/hwmon*/oc[0-9]*_event_cnt": "over-current",
}
PLAUSIBLE_C = (-60.0, 200.0)  # zones of a part without power show nonsense such as -256


class SysfsSensor:
    """Everything this kernel tells without a driver's library. ``root`` is where sysfs is mounted."""

    def __init__(self, root: Path = Path("/sys")) -> None:
        self._cpu_clocks = sorted(root.glob("devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"))
        self._temperatures = _find_temperatures(root)
        self._gpu_clocks = [path for name in GPUS for path in sorted(root.glob(f"class/devfreq/{name}/cur_freq"))]
        self._rail = _find_rail(root)
        self._counters = {path: reason for pattern, reason in COUNTERS.items() for path in sorted(root.glob(pattern))}
        self._counts: dict[Path, float] = {}

    def read(self) -> Reading:
        """What the files say now; a counter that went up since the last reading is a reason for throttling."""
        temperatures = [value / 1000 for value in map(read_number, self._temperatures) if value is not None]
        plausible = [value for value in temperatures if PLAUSIBLE_C[0] < value < PLAUSIBLE_C[1]]
        return Reading(
            temperature_c=max(plausible, default=None),
            cpu_mhz=_find_highest(self._cpu_clocks, 1e3),
            gpu_mhz=_find_highest(self._gpu_clocks, 1e6),
            power_mw=self._read_power(),
            throttle=self._read_throttle(),
        )

    def close(self) -> None:
        """Nothing is held open."""

    def _read_power(self) -> float | None:
        if self._rail is None:
            return None
        millivolts, milliamperes = map(read_number, self._rail)
        return None if millivolts is None or milliamperes is None else millivolts * milliamperes / 1000

    def _read_throttle(self) -> tuple[str, ...] | None:
        counts = {
            path: count for path, count in ((path, read_number(path)) for path in self._counters) if count is not None
        }
        if not counts:
            return None
        risen = [self._counters[path] for path, count in counts.items() if count > self._counts.get(path, count)]
        self._counts = counts
        return tuple(dict.fromkeys(risen))


def _find_temperatures(root: Path) -> list[Path]:
    """Of the parts that compute, where they are named; else of all thermal zones."""
    zones = {path: read_text(path.parent / "type") for path in sorted(root.glob("class/thermal/thermal_zone*/temp"))}
    known = [path for path, kind in zones.items() if kind in ZONES]
    for chip in sorted(root.glob("class/hwmon/hwmon*/name")):
        if read_text(chip) in CHIPS:
            known += sorted(chip.parent.glob("temp*_input"))
    return known or list(zones)


def _find_rail(root: Path) -> tuple[Path, Path] | None:
    """Files of millivolts and milliamperes of the rail that feeds the whole module."""
    labels = {read_text(path): path for path in sorted(root.glob("class/hwmon/hwmon*/in*_label"))}
    for name in INPUT_RAILS:
        if name in labels:
            number = labels[name].name[len("in") : -len("_label")]
            folder = labels[name].parent
            return folder / f"in{number}_input", folder / f"curr{number}_input"
    return None


def _find_highest(paths: list[Path], per_mhz: float) -> float | None:
    values = [value for value in map(read_number, paths) if value is not None]
    return max(values) / per_mhz if values else None


def read_number(path: Path) -> float | None:
    """What a file holds; None where it cannot be read or is no number."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None


def read_text(path: Path) -> str:
    """What a file holds; nothing where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
