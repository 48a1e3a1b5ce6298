"""Measuring latencies: a lease on the device, the protocol's processes, and a record for each model."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from deploy.child import ask_child
from deploy.errors import ChildError, DeployError, InputError, MeasurementError
from deploy.measuring.clocks import check_clocks, cool_down, hold_clocks
from deploy.measuring.job import Job, Measured, find_median, parse_measured
from deploy.measuring.lease import lease_device
from deploy.measuring.memory import measure_peak
from deploy.measuring.protocols import get_protocol
from deploy.measuring.record import LatencyRecord, MeasurementFailure
from deploy.measuring.request import MeasuringRequest, Setup
from deploy.measuring.watching import warn_if_busy
from deploy.pipeline.model import ModelSource
from deploy.pipeline.sources import list_images
from deploy.sensors import merge_energies, read_now

__all__ = ["Measured", "Setup", "measure_models"]

TASK = "deploy.measuring.job:answer_job"
ON_CPU = Setup()
Report = Callable[[str], None]


def measure_models(
    subjects: Mapping[str, ModelSource],
    images: Sequence[Path] = (),
    protocol: str = "screen",
    setup: Setup = ON_CPU,
    seed: int = 0,
    report: Report = lambda line: None,
) -> dict[str, Measured]:
    """A latency record for each model by name, or the reason why there is none; all timed in turns in one lease.

    Args:
        images: files and folders the models are fed with, through their own preprocessing; none: seeded noise.
        protocol: "quick", "screen" or "final" (`deploy.measuring.protocols`).
        seed: of the order of turns.
        report: takes a line of text at each step.

    Raises:
        InputError: the protocol is unknown, a model file or every image is missing, or clocks are required to be locked
            and cannot be; before any work.
        MeasurementError: another process keeps the device for too long, the device's hardware slowed itself down in
            each try, or the engine ended its process before it ran any of the models.
    """
    rules = get_protocol(protocol, setup.mode, setup.also)
    check_clocks(setup.lock_clocks)
    if not subjects:
        raise InputError("there is no model to measure")
    for source in subjects.values():
        if not source.model.is_file():
            raise InputError(f"there is no model {source.model}")
    files = tuple(list_images(images))[: rules.images] if images else ()
    request, gpu = MeasuringRequest(subjects, files, protocol, setup, seed), setup.uses_gpu
    patience_s, policy = setup.lease_timeout_s, setup.lock_clocks
    with lease_device(setup.target, patience_s, report) as lock, hold_clocks(policy, report) as clocks:
        lease = hashlib.sha256(f"{os.getpid()}-{time.time_ns()}".encode()).hexdigest()[:12]
        flags = tuple(flag for flag in (rules.caveat, clocks.note, *warn_if_busy(gpu)) if flag)
        job = Job(request, lease, flags, clocks.locked, read_now(gpu).temperature_c)
        parts: list[dict[str, Measured]] = []
        failed: dict[str, Measured] = {}
        for index in range(rules.processes):
            if rules.processes > 1:
                report(f"process {index + 1} of {rules.processes}")
            if index:
                cool_down(job.start_c, gpu, report)
            _measure_in_child(replace(job, request=replace(request, seed=seed + index)), lock, parts, failed, report)
        merged = {name: _merge([part[name] for part in parts]) for name in subjects if name not in failed}
        if rules.peak_runs:
            merged = {name: _add_peak(name, measured, request, lock, report) for name, measured in merged.items()}
    return {**failed, **merged}


def _add_peak(name: str, measured: Measured, request: MeasuringRequest, lock: int, report: Report) -> Measured:
    """A record with the peak memory of its model; a failure where that cannot be run alone."""
    if isinstance(measured, MeasurementFailure):
        return measured
    report(f"measuring the memory of {name}")
    alone = replace(request, subjects={name: request.subjects[name]})
    try:
        return replace(measured, memory_mib=measure_peak(alone, lock))
    except DeployError as error:
        reason = f"its memory could not be measured: {error}"
        return MeasurementFailure(request.protocol, str(alone.subjects[name].model), request.setup.target, reason)


def _measure_in_child(
    job: Job, lock: int, parts: list[dict[str, Measured]], failed: dict[str, Measured], report: Report
) -> None:
    """Add to `parts` what a fresh process measures; a model that ends it is added to `failed`, and has no further try.

    The others are measured again without it.
    """
    request = job.request
    while len(failed) < len(request.subjects):
        running: str | None = None

        def hear(message: Mapping[str, Any]) -> None:
            nonlocal running
            if "note" in message:
                report(message["note"])
            else:
                running = message["runs"]

        try:
            answer = ask_child(TASK, replace(job, request=request.without(failed)).to_json(), hear, (lock,))
        except ChildError as error:
            if running is None:
                raise MeasurementError(f"no model was running, and {error}") from error
            report(f"{running}: {error}")
            model = str(request.subjects[running].model)
            failed[running] = MeasurementFailure(request.protocol, model, request.setup.target, str(error))
            cool_down(job.start_c, request.setup.uses_gpu, report)
        else:
            parts.append({name: parse_measured(value) for name, value in answer.items()})
            return


def _merge(parts: Sequence[Measured]) -> Measured:
    """One record of several processes' windows, in order; a failure in one is a failure of all."""
    records: list[LatencyRecord] = []
    for part in parts:
        if isinstance(part, MeasurementFailure):
            return part
        records.append(part)
    return replace(
        records[0],
        windows_ms=tuple(window for record in records for window in record.windows_ms),
        pre_ms=find_median([record.pre_ms for record in records if record.pre_ms is not None]),
        gpu_ms=find_median([record.gpu_ms for record in records if record.gpu_ms is not None]),
        warm_up=tuple(item for record in records for item in record.warm_up),
        bound=", ".join(dict.fromkeys(record.bound for record in records)),
        canaries=tuple(item for record in records for item in record.canaries),
        conditions=tuple(item for record in records for item in record.conditions),
        energy=merge_energies([record.energy for record in records]),
        flags=tuple(dict.fromkeys(flag for record in records for flag in record.flags)),
    )
