"""The machine a number was measured on."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from typing import Any, Mapping

from deploy.sensors.machine import count_physical_cores, read_cpu_name, read_governor
from deploy.sensors.tegra import read_power_mode

__all__ = ["DeviceFingerprint", "read_fingerprint"]


@dataclass(frozen=True)
class DeviceFingerprint:
    """What has to be equal for two latencies to be comparable; the load is the one thing that may differ.

    Attributes:
        cores: physical cores this process may use; threads: those the runtime was given.
        governor: the CPU's frequency governor, None where the system does not tell.
        load_average: of the last minute, at the start of the measurement.
        runtime: the engine, its version and what it runs on.
        power_mode: a Jetson's, by `nvpmodel`; None elsewhere. clocks_locked: whether the clocks were held still.
    """

    cpu: str
    cores: int
    threads: int
    governor: str | None
    load_average: float
    runtime: str
    system: str
    power_mode: str | None = None
    clocks_locked: bool = False

    def same_device(self, other: DeviceFingerprint) -> bool:
        """Whether numbers from both may be compared."""
        mine, theirs = asdict(self), asdict(other)
        return all(mine[key] == theirs[key] for key in mine if key != "load_average")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> DeviceFingerprint:
        return DeviceFingerprint(**value)


def read_fingerprint(runtime: str, threads: int) -> DeviceFingerprint:
    """The fingerprint of this machine, now."""
    return DeviceFingerprint(
        cpu=read_cpu_name(),
        cores=count_physical_cores(),
        threads=threads,
        governor=read_governor(),
        load_average=round(os.getloadavg()[0], 2),
        runtime=runtime,
        system=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        power_mode=read_power_mode(),
    )
