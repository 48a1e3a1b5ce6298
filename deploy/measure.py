"""The one way a latency is measured here: several models in one lease, in turn, in a process of their own."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

from deploy.bundle import Bundle, hash_file
from deploy.engines import count_cores
from deploy.errors import InputError, MeasurementError
from deploy.latency import PROTOCOL_VERSION, PROTOCOLS, LatencyRecord, summarise
from deploy.pipeline.preprocess import Preprocess

__all__ = ["Subject", "describe_device", "measure_models"]

LEASE_WAIT_S = 900.0
MAX_DRIFT = 0.05
ATTEMPTS = 2


@dataclass(frozen=True)
class Subject:
    """A model to be measured, and how images reach it.

    Attributes:
        preprocess: None for a bare model: its input is fed plain 0..255 RGB images of its own size.
        head: kind of raw outputs, whose decoding is part of the latency; None measures the model alone.
    """

    model: Path
    preprocess: Optional[Preprocess] = None
    head: Optional[str] = None

    @staticmethod
    def from_bundle(bundle: Bundle) -> "Subject":
        return Subject(bundle.model_path, bundle.manifest.preprocess, bundle.manifest.head)


def measure_models(
    subjects: Mapping[str, Subject],
    *,
    protocol: str,
    target: str = "cpu",
    threads: Optional[int] = None,
    images: Sequence[Path] = (),
    seed: int = 0,
) -> Dict[str, LatencyRecord]:
    """The latency of each subject, all measured in one lease so that their ratios do not drift.

    The models take turns in random order, window by window, between two timings of a small fixed model (the canary).
    If the canary drifts by more than 5 % the lease is measured once more; a second drift is flagged in the records.

    Raises:
        MeasurementError: the measuring process failed, or the device is held by someone else for too long.
        InputError: a model or image cannot be used.
    """
    if protocol not in PROTOCOLS:
        raise InputError("unknown protocol {!r}; there are: {}".format(protocol, ", ".join(sorted(PROTOCOLS))))
    if not subjects:
        raise InputError("nothing to measure")
    with _lease(target):
        load = os.getloadavg()[0]
        for attempt in range(ATTEMPTS):
            answers = [
                _ask_worker(_make_job(subjects, protocol, threads, images, "{}/{}/{}".format(seed, attempt, process)),
                            protocol, len(subjects))  # fmt: skip
                for process in range(PROTOCOLS[protocol].processes)
            ]
            drift = max(abs(answer["canary_ms"][1] / answer["canary_ms"][0] - 1) for answer in answers)
            if drift <= MAX_DRIFT:
                break
    lease = uuid.uuid4().hex
    device = describe_device()
    return {
        name: _make_record(name, subject, answers, drift, lease, device, load, target, protocol, threads, images)
        for name, subject in subjects.items()
    }


def describe_device() -> Dict[str, Any]:
    """What the measuring machine is: processor, cores, governor where it can be read, memory, system."""
    model = platform.processor() or platform.machine()
    governor = None
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
        governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text(encoding="utf-8").strip()
    except OSError:
        pass  # absent is absent: not every system tells
    return {
        "cpu": model,
        "cores": count_cores(),
        "governor": governor,
        "system": "{} {}".format(platform.system(), platform.release()),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def _make_job(
    subjects: Mapping[str, Subject], protocol: str, threads: Optional[int], images: Sequence[Path], seed: str
) -> Dict[str, Any]:
    return {
        "protocol": protocol,
        "threads": threads,
        "seed": seed,
        "images": [str(path) for path in images],
        "models": {
            name: {
                "path": str(subject.model),
                "preprocess": subject.preprocess.to_json() if subject.preprocess else None,
                "head": subject.head,
            }
            for name, subject in subjects.items()
        },
    }


def _ask_worker(job: Dict[str, Any], protocol: str, models: int) -> Dict[str, Any]:
    """The answer of a measuring process, or the error it ended with."""
    here = Path(__file__).resolve().parent.parent  # the folder or archive that holds this package
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])}
    rules = PROTOCOLS[protocol]
    patience = 120 + models * 4 * (rules.warmup_max_s + rules.max_s)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "deploy.worker"],
            input=json.dumps(job),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            timeout=patience,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MeasurementError("measuring took longer than {:.0f} s and was stopped".format(patience)) from error
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MeasurementError("the measuring process ended with {}: {}".format(done.returncode, last)) from error
    if "error" in answer:
        raise (InputError if answer["exit_code"] == 2 else MeasurementError)(answer["error"])
    return dict(answer)


def _make_record(
    name: str,
    subject: Subject,
    answers: List[Dict[str, Any]],
    drift: float,
    lease: str,
    device: Dict[str, Any],
    load: float,
    target: str,
    protocol: str,
    threads: Optional[int],
    images: Sequence[Path],
) -> LatencyRecord:
    parts = [answer["models"][name] for answer in answers]
    # every model of a lease gets as many windows as the others, so that windows pair up
    statistics = summarise(
        [value for part in parts for value in part["samples_ms"]], [value for part in parts for value in part["windows_ms"]]
    )
    warmed_up = all(part["warmed_up"] for part in parts)
    flags = []
    if drift > MAX_DRIFT:
        flags.append("canary drift {:.1%}".format(drift))
    if not warmed_up:
        flags.append("warm-up did not converge")
    if load > 0.5 * count_cores():
        flags.append("machine was busy (load {:.1f})".format(load))
    if not images:
        flags.append("noise instead of images")
    return LatencyRecord(
        target=target,
        protocol=protocol,
        protocol_version=PROTOCOL_VERSION,
        model_sha256=hash_file(subject.model),
        lease=lease,
        warmed_up=warmed_up,
        warmup_runs=sum(part["warmup_runs"] for part in parts),
        images="{} {}".format(parts[0]["feeds"], "images" if images else "noise inputs"),
        canary_ms=tuple(answers[-1]["canary_ms"]),
        canary_drift=round(drift, 5),
        device=device,
        runtime=answers[0]["runtime"],
        threads=threads or count_cores(),
        load=round(load, 2),
        flags=tuple(flags),
        **statistics,
    )


@contextmanager
def _lease(target: str) -> Iterator[None]:
    """Nobody else measures on this target meanwhile; the kernel frees the lock however this process ends."""
    path = Path(tempfile.gettempdir()) / "detopt-{}-{}.lock".format(os.getuid(), "".join(filter(str.isalnum, target)))
    with path.open("a") as file:
        deadline = time.monotonic() + LEASE_WAIT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise MeasurementError("the target {} has been in use for {:.0f} s".format(target, LEASE_WAIT_S)) from error
                time.sleep(0.2)
        yield
