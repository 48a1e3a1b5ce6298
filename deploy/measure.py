"""Measuring latencies: a lease on the device, the levels' processes, and one record a model."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from deploy.bundle import hash_file
from deploy.child import describe_child, describe_environment
from deploy.clocks import check_clocks, cool_down, hold_clocks
from deploy.device import DeviceFingerprint, read_fingerprint
from deploy.errors import InputError, MeasurementError
from deploy.latency import LatencyRecord, MeasurementFailure
from deploy.lease import lease_device
from deploy.pipeline.nms import parse_selection
from deploy.pipeline.preprocess import Preprocess
from deploy.pipeline.sources import iterate_images, list_images
from deploy.protocols import MeasuringProtocol, get_protocol
from deploy.sensors import find_slowdown, merge_energies, read_now
from deploy.timing import NOISE_SEED, Lease, Subject, Timed
from deploy.watching import Stay, note_company, uses_gpu, watch_lease

__all__ = ["Measured", "Subject", "measure_models"]

IMAGES_LIMIT_BYTES = 256 << 20
Measured = Union[LatencyRecord, MeasurementFailure]
Report = Callable[[str], None]


@dataclass(frozen=True)
class _Job:
    """One process's part of a measurement; it travels to a child as JSON."""

    subjects: Mapping[str, Subject]
    images: Tuple[Path, ...]
    level: str
    target: str
    engine: str
    threads: Optional[int]
    seed: int
    lease: str
    flags: Tuple[str, ...]
    mode: str = "sustained"
    clocks_locked: bool = False
    start_c: Optional[float] = None

    @property
    def protocol(self) -> MeasuringProtocol:
        return get_protocol(self.level, self.mode)

    @property
    def on_gpu(self) -> bool:
        return uses_gpu(self.engine)

    def to_text(self) -> str:
        return json.dumps(asdict(self), default=str)

    @staticmethod
    def from_text(text: str) -> "_Job":
        value = json.loads(text)
        subjects = {
            name: Subject(
                Path(item["model"]),
                item["preprocess"] and Preprocess.from_json(item["preprocess"]),
                item["head"],
                parse_selection(item["selection"]),
            )
            for name, item in value["subjects"].items()
        }
        images, flags = tuple(map(Path, value["images"])), tuple(value["flags"])
        return _Job(**{**value, "subjects": subjects, "images": images, "flags": flags})


def measure_models(
    subjects: Mapping[str, Subject],
    images: Sequence[Path] = (),
    level: str = "screen",
    target: str = "cpu",
    engine: str = "ort",
    threads: Optional[int] = None,
    seed: int = 0,
    report: Report = lambda line: None,
    lease_timeout_s: float = 600.0,
    mode: str = "sustained",
    lock_clocks: str = "never",
) -> Dict[str, Measured]:
    """A latency record for each model by name, or the reason why there is none; all timed in turns in one lease.

    Args:
        images: files and folders the models are fed with, through their own preprocessing; none: seeded noise.
        level: "quick", "screen" or "final" (`deploy.protocols`).
        seed: of the order of turns.
        report: takes a line of text at each step.
        mode: "sustained" or "burst" (`deploy.protocols`).
        lock_clocks: "never", "auto" or "require" (`deploy.clocks`).

    Raises:
        InputError: the level is unknown, a model file or every image is missing, or clocks are required to be locked
            and cannot be; before any work.
        MeasurementError: another process keeps the device for longer than `lease_timeout_s`, or the device's hardware
            slowed itself down in each try.
    """
    protocol = get_protocol(level, mode)
    check_clocks(lock_clocks)
    if not subjects:
        raise InputError("there is no model to measure")
    for subject in subjects.values():
        if not subject.model.is_file():
            raise InputError("there is no model {}".format(subject.model))
    files = tuple(list_images(images))[: protocol.images] if images else ()
    on_gpu = uses_gpu(engine)
    with lease_device(target, lease_timeout_s, report) as lock, hold_clocks(lock_clocks, report) as clocks:
        lease = hashlib.sha256("{}-{}".format(os.getpid(), time.time_ns()).encode()).hexdigest()[:12]
        flags = tuple(flag for flag in (protocol.caveat, clocks.note, *note_company(engine)) if flag)
        start_c = read_now(on_gpu).temperature_c
        job = _Job(subjects, files, level, target, engine, threads, seed, lease, flags, mode, clocks.locked, start_c)
        if protocol.processes == 1:
            return _measure_here(job, report)
        parts = []
        for index in range(protocol.processes):
            report("process {} of {}".format(index + 1, protocol.processes))
            if index:
                cool_down(start_c, on_gpu, report)
            parts.append(_measure_in_child(replace(job, seed=seed + index), lock))
    return {name: _merge([part[name] for part in parts]) for name in subjects}


def _measure_here(job: _Job, report: Report) -> Dict[str, Measured]:
    """Time, and time again where the canary drifted or the device slowed down; the steadier lease of two counts."""
    protocol = job.protocol
    images, digest = _load_images(job.images, protocol, report)
    measured_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    device = replace(read_fingerprint("", 0), clocks_locked=job.clocks_locked)  # now, for the load; the engine later
    best: Optional[Stay] = None
    slowdown: Optional[str] = None
    for index in range(1 + protocol.retries):
        if index:
            cool_down(job.start_c, job.on_gpu, report)
        stay = watch_lease(job.subjects, images, job.protocol, job.engine, job.threads, job.seed, report)
        slowdown = find_slowdown(stay.conditions)
        if slowdown:
            report(slowdown)
            continue
        if best is None or stay.lease.canary.drift < best.lease.canary.drift:
            best = stay
        if best.lease.canary.drift <= protocol.drift_limit:
            break
        report("the canary drifted by {:.1%}".format(stay.lease.canary.drift))
    if best is None:
        raise MeasurementError(
            "{}; no latency comes of that: cool the device, or give it the power it needs, and measure again".format(
                slowdown
            )
        )
    return {name: _make_record(job, name, best, device, measured_at, len(images), digest) for name in job.subjects}


def _make_record(
    job: _Job, name: str, stay: Stay, device: DeviceFingerprint, measured_at: str, images: int, digest: Optional[str]
) -> Measured:
    lease, subject = stay.lease, job.subjects[name]
    timed = lease.timed[name]
    if timed.error is not None:
        return MeasurementFailure(job.level, str(subject.model), job.target, timed.error)
    whole = subject.head is not None and subject.preprocess is not None
    return LatencyRecord(
        level=job.level,
        model_sha256=hash_file(subject.model),
        target=job.target,
        device=replace(device, runtime=timed.runtime, threads=timed.threads),
        lease=job.lease,
        measured_at=measured_at,
        windows_ms=tuple(timed.windows_ms),
        pre_ms=_find_median(timed.pre_ms) if whole else None,
        warm_up=(timed.warm_up,),
        bound=timed.bound,
        feeds=_describe_feeds(subject, images),
        images_sha256=digest if subject.preprocess is not None else None,
        canaries=(lease.canary,),
        flags=job.flags + _list_flags(lease, timed, job.protocol) + stay.notes,
        mode=job.mode,
        gpu_ms=_find_median(timed.gpu_ms),
        conditions=(stay.conditions,),
        energy=stay.energies[name],
    )


def _find_median(values: Sequence[float]) -> Optional[float]:
    return round(float(np.median(values)), 4) if values else None


def _list_flags(lease: Lease, timed: Timed, protocol: MeasuringProtocol) -> Tuple[str, ...]:
    flags = []
    if not timed.warm_up.converged:
        flags.append("latency still moved by more than {:.0%} when warm-up ended".format(protocol.settled))
    if lease.canary.drift > protocol.drift_limit:
        flags.append("the canary drifted by more than {:.0%}: only ratios within this lease count".format(
            protocol.drift_limit))  # fmt: skip
    return (*flags, *timed.notes)


def _describe_feeds(subject: Subject, images: int) -> str:
    if not images or subject.preprocess is None:
        return "noise, seed {}".format(NOISE_SEED)
    prepared = "the bundle's preprocessing" if subject.head is not None else "values as given, not the model's own"
    return "{} images, {}".format(images, prepared)


def _load_images(
    files: Sequence[Path], protocol: MeasuringProtocol, report: Report
) -> Tuple[List[np.ndarray], Optional[str]]:
    """Decoded images, as many as the protocol takes and memory allows, and a hash of their contents."""
    images: List[np.ndarray] = []
    if not files:
        return images, None
    digest, size = hashlib.sha256(), 0
    for frame in iterate_images(files, report):
        size += frame.image.nbytes
        if images and size > IMAGES_LIMIT_BYTES:
            break
        images.append(frame.image)
        digest.update(bytes.fromhex(hash_file(frame.path)))
    return images, digest.hexdigest()


def _measure_in_child(job: _Job, lock: int) -> Dict[str, Measured]:
    """The same in a fresh process; one that dies is a failure of every model in it."""
    result = subprocess.run(
        describe_child("from deploy.measure import answer_job; answer_job()"),
        input=job.to_text(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        env=describe_environment(),
        pass_fds=(lock,),  # should this process be killed, the device stays taken until the child has ended
        check=False,
    )
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        reason = "the measuring process ended with {}: {}".format(result.returncode, last)
        return {
            name: MeasurementFailure(job.level, str(subject.model), job.target, reason)
            for name, subject in job.subjects.items()
        }
    return {name: _parse_measured(value) for name, value in json.loads(result.stdout).items()}


def answer_job() -> None:
    """A child's whole life: a job on stdin, its records on stdout."""
    measured = _measure_here(_Job.from_text(sys.stdin.read()), lambda line: None)
    json.dump({name: item.to_json() for name, item in measured.items()}, sys.stdout)


def _parse_measured(value: Mapping[str, Any]) -> Measured:
    if "error" in value:
        return MeasurementFailure(value["level"], value["model"], value["target"], value["error"])
    return LatencyRecord.from_json(value)


def _merge(parts: Sequence[Measured]) -> Measured:
    """One record of several processes' windows, in order; a failure in one is a failure of all."""
    records: List[LatencyRecord] = []
    for part in parts:
        if isinstance(part, MeasurementFailure):
            return part
        records.append(part)
    return replace(
        records[0],
        windows_ms=tuple(window for record in records for window in record.windows_ms),
        pre_ms=_find_median([record.pre_ms for record in records if record.pre_ms is not None]),
        gpu_ms=_find_median([record.gpu_ms for record in records if record.gpu_ms is not None]),
        warm_up=tuple(item for record in records for item in record.warm_up),
        bound=", ".join(dict.fromkeys(record.bound for record in records)),
        canaries=tuple(item for record in records for item in record.canaries),
        conditions=tuple(item for record in records for item in record.conditions),
        energy=merge_energies([record.energy for record in records]),
        flags=tuple(dict.fromkeys(flag for record in records for flag in record.flags)),
    )
