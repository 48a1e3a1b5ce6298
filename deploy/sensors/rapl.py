"""The energy counters of Intel's and AMD's CPUs (RAPL), as the kernel's powercap shows them in files.

Documented in the kernel's Documentation/power/powercap/powercap.rst. The files are root's alone by default.
"""

from __future__ import annotations

from pathlib import Path

from deploy.sensors.base import Reading
from deploy.sensors.sysfs import read_number, read_text

__all__ = ["RaplSensor", "find_counters"]


class RaplSensor:
    """Energy of all CPU packages together. ``root`` is where sysfs is mounted.

    A counter begins anew when it is full, after minutes under load, so that it has to be read more often than that.
    """

    def __init__(self, root: Path = Path("/sys")) -> None:
        self._counters = find_counters(root)
        self._last: list[float] = []
        self._spent_uj = 0.0

    def read(self) -> Reading:
        """What all of them counted since the first reading; nothing where one cannot be read."""
        counts = [count for count in map(read_number, self._counters) if count is not None]
        if not self._counters or len(counts) < len(self._counters):
            return Reading()
        for path, before, now in zip(self._counters, self._last, counts):
            full = read_number(path.with_name("max_energy_range_uj")) or 0.0
            self._spent_uj += now - before if now >= before else max(now - before + full, 0.0)
        self._last = counts
        return Reading(energy_mj=self._spent_uj / 1e3)

    def close(self) -> None:
        """Nothing is held open."""


def find_counters(root: Path) -> list[Path]:
    """The counter of each CPU package, readable or not; of their parts none, which packages count already."""
    zones = sorted(root.glob("class/powercap/intel-rapl:*"))
    return [zone / "energy_uj" for zone in zones if read_text(zone / "name").startswith("package")]
