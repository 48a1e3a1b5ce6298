"""What a device says of itself while it is measured: clocks, temperature, throttling, power, where it can be read."""

from __future__ import annotations

from deploy.sensors.base import (
    Conditions,
    Reading,
    Sample,
    Sensor,
    Span,
    describe_reading,
    find_slowdown,
    note_conditions,
)
from deploy.sensors.catalogue import count_gpu_processes, open_sensors
from deploy.sensors.energy import Energy, find_energy, merge_energies
from deploy.sensors.watch import Watch, read_now

__all__ = [
    "Conditions",
    "Energy",
    "Reading",
    "Sample",
    "Sensor",
    "Span",
    "Watch",
    "count_gpu_processes",
    "describe_reading",
    "find_energy",
    "find_slowdown",
    "merge_energies",
    "note_conditions",
    "open_sensors",
    "read_now",
]
