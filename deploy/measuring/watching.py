"""A lease with the device's sensors read beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Mapping, Sequence

import numpy as np

from deploy.measuring.protocols import MeasuringProtocol
from deploy.measuring.timing import Lease, time_models
from deploy.pipeline.model import ModelSource
from deploy.sensors import Conditions, Energy, Watch, count_gpu_processes, find_energy, note_conditions
from deploy.sensors.machine import read_busy_share

__all__ = ["Stay", "note_company", "uses_gpu", "watch_lease"]

CPU_ENGINES = ("ort",)  # those that leave a GPU alone, whose sensors then say nothing of the measurement
SENSOR_INTERVAL_S = {"gpu": 0.1, "cpu": 0.5}  # on a CPU the sensors' process takes a share of what is measured
BUSY_LIMIT = 0.2


@dataclass(frozen=True)
class Stay:
    """A lease, what the device was like in it, the energy of its models by name, and what to know of all that."""

    lease: Lease
    conditions: Conditions
    energies: Mapping[str, Energy | None]
    notes: tuple[str, ...]


def uses_gpu(engine: str) -> bool:
    """Whether models of this engine compute on a GPU, so that its sensors count."""
    return engine not in CPU_ENGINES


def watch_lease(
    subjects: Mapping[str, ModelSource],
    images: Sequence[np.ndarray],
    protocol: MeasuringProtocol,
    engine: str,
    threads: int | None,
    seed: int,
    report: Callable[[str], None],
    at: Callable[[str | None], None],
) -> Stay:
    """As `deploy.measuring.timing.time_models`, watched."""
    gpu = uses_gpu(engine)
    with Watch(gpu, SENSOR_INTERVAL_S["gpu" if gpu else "cpu"]) as watch:
        metered = watch.start.power_mw is not None or watch.start.energy_mj is not None
        lease = time_models(subjects, images, protocol, engine, threads, seed, report, at, metered)
    conditions = Conditions.of(watch.samples, lease.span)
    energies = {
        name: None if timed.work is None else find_energy(watch.samples, timed.work, lease.idle)
        for name, timed in lease.timed.items()
    }
    return Stay(lease, conditions, energies, note_conditions(conditions) + ((watch.note,) if watch.note else ()))


def note_company(engine: str) -> list[str]:
    """Who else is at work on the device before the start."""
    notes = []
    busy = read_busy_share()
    if busy is not None and busy > BUSY_LIMIT:
        notes.append(f"the machine was busy before the start: {busy:.0%} of its cores")
    count = count_gpu_processes() if uses_gpu(engine) else None
    if count:
        notes.append(f"other processes were on the GPU before the start: {count}")
    return notes
