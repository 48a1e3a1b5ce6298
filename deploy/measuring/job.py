"""One process's part of a measurement: the models of a lease, timed here, and a record of each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence, Union

import numpy as np

from deploy.child import Say
from deploy.errors import MeasurementError
from deploy.files import hash_file
from deploy.measuring.clocks import cool_down
from deploy.measuring.device import DeviceFingerprint, read_fingerprint
from deploy.measuring.protocols import MeasuringProtocol
from deploy.measuring.record import LatencyRecord, MeasurementFailure
from deploy.measuring.request import MeasuringRequest
from deploy.measuring.timing import NOISE_SEED, At, Timed, TimedLease
from deploy.measuring.watching import WatchedLease, watch_lease
from deploy.pipeline.model import ModelSource
from deploy.pipeline.sources import iterate_images
from deploy.sensors import find_slowdown

__all__ = ["Job", "Measured", "answer_job", "do_job", "find_median", "parse_measured"]

IMAGES_LIMIT_BYTES = 256 << 20
Measured = Union[LatencyRecord, MeasurementFailure]
Report = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """One process's part of a measurement; it travels to a child as JSON.

    Attributes:
        lease: identity of the measurement. flags: what its records say besides. start_c: the device's temperature.
    """

    request: MeasuringRequest
    lease: str
    flags: tuple[str, ...]
    clocks_locked: bool = False
    start_c: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "request": self.request.to_json(), "flags": list(self.flags)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Job:
        request, flags = MeasuringRequest.from_json(value["request"]), tuple(value["flags"])
        return Job(**{**value, "request": request, "flags": flags})


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
    request, rules = job.request, job.request.rules
    images, digest = _load_images(request.images, rules, report)
    measured_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    device = replace(read_fingerprint("", 0), clocks_locked=job.clocks_locked)  # now, for the load; the engine later
    best: WatchedLease | None = None
    slowdown: str | None = None
    for index in range(1 + rules.retries):
        if index:
            cool_down(job.start_c, request.setup.uses_gpu, report)
        watched = watch_lease(request, images, report, at)
        slowdown = find_slowdown(watched.conditions)
        if slowdown:
            report(slowdown)
            continue
        if best is None or watched.lease.canary.drift < best.lease.canary.drift:
            best = watched
        if best.lease.canary.drift <= rules.repeat_drift:
            break
        report(f"the canary drifted by {watched.lease.canary.drift:.1%}")
    if best is None:
        raise MeasurementError(
            f"{slowdown}; no latency comes of that: cool the device, or give it the power it needs, and measure again"
        )
    return {name: _make_record(job, name, best, device, measured_at, len(images), digest) for name in request.subjects}


def _make_record(
    job: Job,
    name: str,
    watched: WatchedLease,
    device: DeviceFingerprint,
    measured_at: str,
    images: int,
    digest: str | None,
) -> Measured:
    lease, request = watched.lease, job.request
    source = request.subjects[name]
    timed = lease.timed[name]
    if timed.error is not None:
        return MeasurementFailure(request.protocol, str(source.model), request.setup.target, timed.error)
    return LatencyRecord(
        protocol=request.protocol,
        model_sha256=hash_file(source.model),
        target=request.setup.target,
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
        flags=job.flags + _list_flags(lease, timed, request.rules) + watched.notes,
        mode=request.setup.mode,
        gpu_ms=find_median(timed.gpu_ms),
        conditions=(watched.conditions,),
        energy=watched.energies[name],
    )


def find_median(values: Sequence[float]) -> float | None:
    return round(float(np.median(values)), 4) if values else None


def _list_flags(lease: TimedLease, timed: Timed, rules: MeasuringProtocol) -> tuple[str, ...]:
    flags = []
    if not timed.warm_up.converged:
        flags.append(f"latency still moved by more than {rules.settled:.0%} when warm-up ended")
    if lease.canary.drift > rules.drift_limit:
        flags.append(f"the canary drifted by more than {rules.drift_limit:.0%}: only ratios within this lease count")
    return (*flags, *timed.notes)


def _describe_feeds(source: ModelSource, images: int) -> str:
    if not images or source.preprocess is None:
        return f"noise, seed {NOISE_SEED}"
    prepared = "the bundle's preprocessing" if source.head is not None else "values as given, not the model's own"
    return f"{images} images, {prepared}"


def _load_images(
    files: Sequence[Path], rules: MeasuringProtocol, report: Report
) -> tuple[list[np.ndarray], str | None]:
    """Decoded images, as many as the rules take and memory allows, and a hash of their contents."""
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
