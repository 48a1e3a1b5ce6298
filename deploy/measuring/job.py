"""One process's part of a measurement: the models of a lease, timed here, and a record of each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Mapping, Optional, Sequence, Union

import numpy as np

from deploy.child import Say
from deploy.errors import MeasurementError
from deploy.files import hash_file
from deploy.measuring.clocks import cool_down
from deploy.measuring.device import DeviceFingerprint, read_fingerprint
from deploy.measuring.protocols import MeasuringProtocol, get_protocol
from deploy.measuring.record import LatencyRecord, MeasurementFailure
from deploy.measuring.timing import NOISE_SEED, Lease, Timed
from deploy.measuring.watching import Stay, uses_gpu, watch_lease
from deploy.pipeline.model import ModelSource
from deploy.pipeline.sources import iterate_images
from deploy.sensors import find_slowdown

__all__ = ["Job", "Measured", "answer_job", "do_job", "find_median", "parse_measured"]

IMAGES_LIMIT_BYTES = 256 << 20
Measured = Union[LatencyRecord, MeasurementFailure]
Report = Callable[[str], None]
At = Callable[[Optional[str]], None]  # takes the model that runs from now on


@dataclass(frozen=True)
class Job:
    """One process's part of a measurement; it travels to a child as JSON."""

    subjects: Mapping[str, ModelSource]
    images: tuple[Path, ...]
    level: str
    target: str
    engine: str
    threads: int | None
    seed: int
    lease: str
    flags: tuple[str, ...]
    mode: str = "sustained"
    clocks_locked: bool = False
    start_c: float | None = None

    @property
    def protocol(self) -> MeasuringProtocol:
        return get_protocol(self.level, self.mode)

    @property
    def on_gpu(self) -> bool:
        return uses_gpu(self.engine)

    def to_json(self) -> dict[str, Any]:
        value = {item.name: getattr(self, item.name) for item in fields(self)}
        subjects = {name: source.to_json() for name, source in self.subjects.items()}
        return {**value, "subjects": subjects, "images": [str(path) for path in self.images]}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Job:
        subjects = {name: ModelSource.from_json(item) for name, item in value["subjects"].items()}
        images, flags = tuple(map(Path, value["images"])), tuple(value["flags"])
        return Job(**{**value, "subjects": subjects, "images": images, "flags": flags})


def answer_job(request: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """A job and its records as JSON; says notes, and which model it runs (None between two)."""
    measured = do_job(Job.from_json(request), lambda line: say({"note": line}), lambda name: say({"runs": name}))
    return {name: item.to_json() for name, item in measured.items()}


def parse_measured(value: Mapping[str, Any]) -> Measured:
    """A record, or why there is none, of what `answer_job` gave."""
    if "error" in value:
        return MeasurementFailure(value["level"], value["model"], value["target"], value["error"])
    return LatencyRecord.from_json(value)


def do_job(job: Job, report: Report = lambda line: None, at: At = lambda name: None) -> dict[str, Measured]:
    """Time, and time again where the canary drifted or the device slowed down; the steadier lease of two counts."""
    protocol = job.protocol
    images, digest = _load_images(job.images, protocol, report)
    measured_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    device = replace(read_fingerprint("", 0), clocks_locked=job.clocks_locked)  # now, for the load; the engine later
    best: Stay | None = None
    slowdown: str | None = None
    for index in range(1 + protocol.retries):
        if index:
            cool_down(job.start_c, job.on_gpu, report)
        stay = watch_lease(job.subjects, images, job.protocol, job.engine, job.threads, job.seed, report, at)
        slowdown = find_slowdown(stay.conditions)
        if slowdown:
            report(slowdown)
            continue
        if best is None or stay.lease.canary.drift < best.lease.canary.drift:
            best = stay
        if best.lease.canary.drift <= protocol.drift_limit:
            break
        report(f"the canary drifted by {stay.lease.canary.drift:.1%}")
    if best is None:
        raise MeasurementError(
            f"{slowdown}; no latency comes of that: cool the device, or give it the power it needs, and measure again"
        )
    return {name: _make_record(job, name, best, device, measured_at, len(images), digest) for name in job.subjects}


def _make_record(
    job: Job, name: str, stay: Stay, device: DeviceFingerprint, measured_at: str, images: int, digest: str | None
) -> Measured:
    lease, source = stay.lease, job.subjects[name]
    timed = lease.timed[name]
    if timed.error is not None:
        return MeasurementFailure(job.level, str(source.model), job.target, timed.error)
    return LatencyRecord(
        level=job.level,
        model_sha256=hash_file(source.model),
        target=job.target,
        device=replace(device, runtime=timed.runtime, threads=timed.threads),
        lease=job.lease,
        measured_at=measured_at,
        windows_ms=tuple(timed.windows_ms),
        pre_ms=find_median(timed.pre_ms) if source.detects else None,
        warm_up=(timed.warm_up,),
        bound=timed.bound,
        feeds=_describe_feeds(source, images),
        images_sha256=digest if source.preprocess is not None else None,
        canaries=(lease.canary,),
        flags=job.flags + _list_flags(lease, timed, job.protocol) + stay.notes,
        mode=job.mode,
        gpu_ms=find_median(timed.gpu_ms),
        conditions=(stay.conditions,),
        energy=stay.energies[name],
    )


def find_median(values: Sequence[float]) -> float | None:
    return round(float(np.median(values)), 4) if values else None


def _list_flags(lease: Lease, timed: Timed, protocol: MeasuringProtocol) -> tuple[str, ...]:
    flags = []
    if not timed.warm_up.converged:
        flags.append(f"latency still moved by more than {protocol.settled:.0%} when warm-up ended")
    if lease.canary.drift > protocol.drift_limit:
        flags.append(f"the canary drifted by more than {protocol.drift_limit:.0%}: only ratios within this lease count")
    return (*flags, *timed.notes)


def _describe_feeds(source: ModelSource, images: int) -> str:
    if not images or source.preprocess is None:
        return f"noise, seed {NOISE_SEED}"
    prepared = "the bundle's preprocessing" if source.head is not None else "values as given, not the model's own"
    return f"{images} images, {prepared}"


def _load_images(
    files: Sequence[Path], protocol: MeasuringProtocol, report: Report
) -> tuple[list[np.ndarray], str | None]:
    """Decoded images, as many as the protocol takes and memory allows, and a hash of their contents."""
    images: list[np.ndarray] = []
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
