"""A lease with the device's sensors read beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Mapping, Sequence

import numpy as np

from deploy.measuring.request import MeasuringRequest
from deploy.measuring.timing import At, TimedLease, time_models
from deploy.sensors import Conditions, Energy, Watch, count_gpu_processes, find_energy, note_conditions
from deploy.sensors.machine import read_busy_share

__all__ = ["WatchedLease", "warn_if_busy", "watch_lease"]

SENSOR_INTERVAL_S = {"gpu": 0.1, "cpu": 0.5}  # on a CPU the sensors' process takes a share of what is measured
BUSY_LIMIT = 0.2


@dataclass(frozen=True)
class WatchedLease:
    """A lease, what the device was like in it, the energy of its models by name, and what to know of all that."""

    lease: TimedLease
    conditions: Conditions
    energies: Mapping[str, Energy | None]
    notes: tuple[str, ...]


def watch_lease(
    request: MeasuringRequest, images: Sequence[np.ndarray], report: Callable[[str], None], at: At
) -> WatchedLease:
    """As `deploy.measuring.timing.time_models`, watched."""
    gpu = request.setup.uses_gpu
    with Watch(gpu, SENSOR_INTERVAL_S["gpu" if gpu else "cpu"]) as watch:
        metered = watch.start.power_mw is not None or watch.start.energy_mj is not None
        lease = time_models(request, images, report, at, metered)
    conditions = Conditions.of(watch.samples, lease.span)
    energies = {
        name: None if timed.work is None else find_energy(watch.samples, timed.work, lease.idle)
        for name, timed in lease.timed.items()
    }
    return WatchedLease(
        lease, conditions, energies, note_conditions(conditions) + ((watch.note,) if watch.note else ())
    )


def warn_if_busy(gpu: bool) -> list[str]:
    """Warnings about other work on the machine, and on its GPU if that is to be used, before the start."""
    notes = []
    busy = read_busy_share()
    if busy is not None and busy > BUSY_LIMIT:
        notes.append(f"the machine was busy before the start: {busy:.0%} of its cores")
    count = count_gpu_processes() if gpu else None
    if count:
        notes.append(f"other processes were on the GPU before the start: {count}")
    return notes
