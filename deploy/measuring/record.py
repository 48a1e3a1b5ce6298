"""`LatencyRecord`: what was timed, on what, how, and every sample. A latency is never a bare number here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Mapping, NamedTuple, Tuple

import numpy as np

from deploy.errors import InputError
from deploy.measuring.device import DeviceFingerprint
from deploy.measuring.intervals import FEWEST_VALUES, cut_tails, find_median_interval, resample_medians
from deploy.measuring.protocols import get_protocol
from deploy.sensors import Conditions, Energy

__all__ = ["PROTOCOL_VERSION", "Canary", "Comparison", "LatencyRecord", "MeasurementFailure", "WarmUp", "compare"]

PROTOCOL_VERSION = 3  # 2: a session of its own for every window; 3: a process of its own for every measurement
Windows = Tuple[Tuple[float, ...], ...]


class WarmUp(NamedTuple):
    """Untimed runs before the first window, and whether the latency had stopped moving when they ended."""

    runs: int
    converged: bool


class Canary(NamedTuple):
    """Median latency of one small fixed model before and after a lease: it moves only if the machine does."""

    before_ms: float
    after_ms: float

    @property
    def drift(self) -> float:
        return abs(self.after_ms / self.before_ms - 1)


@dataclass(frozen=True)
class LatencyRecord:
    """One model's latency at batch 1, with what is needed to judge and to repeat it.

    Attributes:
        protocol: a name in `deploy.measuring.protocols.PROTOCOLS`, "level" in JSON; bound: which of its rules ended the
            timing.
        lease: identity of the measurement; records of one lease were timed in turns and share their windows' order.
        windows_ms: every sample, clipped nowhere, by window in the order of time: engine and decoding (`infer_ms`).
        pre_ms: median time of resizing, padding and normalising; None where the model was fed ready tensors.
        feeds: what the model was fed: "noise, seed 0", or "N images" and how they were prepared; images_sha256: of the
            images' contents in order, None for noise.
        canaries, conditions: one per process. flags: what a reader has to know before trusting the number.
        mode: "sustained", run after run, or "burst", with a rest before each.
        gpu_ms: median time that the GPU worked, a part of `infer_ms`; None without one.
        energy: None where it cannot be read, or the protocol does not meter it.
        memory_mib: peak memory (`deploy.measuring.memory`); None where it cannot be read, or was not asked for.
    """

    protocol: str
    model_sha256: str
    target: str
    device: DeviceFingerprint
    lease: str
    measured_at: str
    windows_ms: Windows
    pre_ms: float | None
    warm_up: tuple[WarmUp, ...]
    bound: str
    feeds: str
    images_sha256: str | None
    canaries: tuple[Canary, ...]
    flags: tuple[str, ...] = ()
    protocol_version: int = PROTOCOL_VERSION
    mode: str = "sustained"
    gpu_ms: float | None = None
    conditions: tuple[Conditions, ...] = ()
    energy: Energy | None = None
    memory_mib: float | None = None

    def __post_init__(self) -> None:
        assert self.windows_ms and all(self.windows_ms), "a record holds samples; a failure is a MeasurementFailure"

    @cached_property
    def samples_ms(self) -> np.ndarray:
        """All samples in the order of time."""
        return np.concatenate([np.array(window) for window in self.windows_ms])

    @cached_property
    def window_medians_ms(self) -> np.ndarray:
        return np.array([np.median(window) for window in self.windows_ms])

    @property
    def median_ms(self) -> float:
        """The median of the windows' medians: what scores are made of."""
        return float(np.median(self.window_medians_ms))

    @cached_property
    def ci95_ms(self) -> tuple[float, float]:
        """95 % interval of `median_ms`, by a bootstrap that draws windows and, within them, samples."""
        return cut_tails(resample_medians(self.windows_ms))

    @property
    def mean_ms(self) -> float:
        return float(self.samples_ms.mean())

    @property
    def iqr_ms(self) -> float:
        return self.percentile_ms(75) - self.percentile_ms(25)

    @property
    def infer_ms(self) -> float:
        """`median_ms` by the name it has beside `gpu_ms`, `pre_ms` and `total_ms`."""
        return self.median_ms

    @property
    def total_ms(self) -> float | None:
        """Preprocessing and inference; None where the model was fed ready tensors."""
        return None if self.pre_ms is None else self.pre_ms + self.median_ms

    def percentile_ms(self, percent: float) -> float:
        """Of all samples; 0 is the shortest, 100 the longest."""
        return float(np.percentile(self.samples_ms, percent))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; the statistics are written for readers, and computed anew by `from_json`."""
        return {
            "protocol_version": self.protocol_version,
            "level": self.protocol,
            "mode": self.mode,
            "median_ms": round(self.median_ms, 4),
            "ci95_ms": [round(value, 4) for value in self.ci95_ms],
            "mean_ms": round(self.mean_ms, 4),
            "min_ms": round(self.percentile_ms(0), 4),
            "p90_ms": round(self.percentile_ms(90), 4),
            "p95_ms": round(self.percentile_ms(95), 4),
            "p99_ms": round(self.percentile_ms(99), 4),
            "max_ms": round(self.percentile_ms(100), 4),
            "iqr_ms": round(self.iqr_ms, 4),
            "runs": len(self.samples_ms),
            "gpu_ms": self.gpu_ms,
            "infer_ms": round(self.infer_ms, 4),
            "pre_ms": self.pre_ms,
            "total_ms": None if self.total_ms is None else round(self.total_ms, 4),
            "model_sha256": self.model_sha256,
            "target": self.target,
            "device": self.device.to_json(),
            "lease": self.lease,
            "measured_at": self.measured_at,
            "warm_up": [{"runs": item.runs, "converged": item.converged} for item in self.warm_up],
            "bound": self.bound,
            "feeds": self.feeds,
            "images_sha256": self.images_sha256,
            "canaries": [
                {"before_ms": item.before_ms, "after_ms": item.after_ms, "drift": round(item.drift, 4)}
                for item in self.canaries
            ],
            "conditions": [item.to_json() for item in self.conditions],
            "energy": None if self.energy is None else self.energy.to_json(),
            "memory_mib": self.memory_mib,
            "flags": list(self.flags),
            "windows_ms": [list(window) for window in self.windows_ms],
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> LatencyRecord:
        """The inverse of `to_json`; an `InputError` says what is missing."""
        try:
            return LatencyRecord(
                protocol=value["level"],
                model_sha256=value["model_sha256"],
                target=value["target"],
                device=DeviceFingerprint.from_json(value["device"]),
                lease=value["lease"],
                measured_at=value["measured_at"],
                windows_ms=tuple(tuple(float(sample) for sample in window) for window in value["windows_ms"]),
                pre_ms=value["pre_ms"],
                warm_up=tuple(WarmUp(item["runs"], item["converged"]) for item in value["warm_up"]),
                bound=value["bound"],
                feeds=value["feeds"],
                images_sha256=value["images_sha256"],
                canaries=tuple(Canary(item["before_ms"], item["after_ms"]) for item in value["canaries"]),
                flags=tuple(value["flags"]),
                protocol_version=value["protocol_version"],
                mode=value.get("mode", "sustained"),  # records before this key hold none of the following
                gpu_ms=value.get("gpu_ms"),
                conditions=tuple(Conditions.from_json(item) for item in value.get("conditions", ())),
                energy=Energy.from_json(value["energy"]) if value.get("energy") else None,
                memory_mib=value.get("memory_mib"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a latency record: {error!r}") from error


@dataclass(frozen=True)
class MeasurementFailure:
    """A latency that could not be established, and why; it is kept as a record and never read as a number."""

    protocol: str
    model: str
    target: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        return {"level": self.protocol, "model": self.model, "target": self.target, "error": self.reason}


class Comparison(NamedTuple):
    """Two latencies: ``ratio`` is the first divided by the second, ``ci95`` its interval, ``different`` the verdict."""

    ratio: float
    ci95: tuple[float, float]
    different: bool


def compare(first: LatencyRecord, second: LatencyRecord) -> Comparison:
    """How much slower (above 1) or faster (below 1) the first model is.

    Within one lease windows are compared pair by pair, so that what slows both cancels. The two are called different
    only if they are further apart than their protocol's gap (final 1 %, screen 3 %) and their intervals do not overlap;
    in one lease, if the interval of their ratio does not hold 1, which is the same question asked of the pairs. With
    fewer than six windows nothing is called different.

    Raises:
        InputError: the records are not of one protocol version, mode, target and device.
    """
    for what, same in (
        ("protocol version", first.protocol_version == second.protocol_version),
        ("mode", first.mode == second.mode),
        ("target", first.target == second.target),
        ("device", first.device.same_device(second.device)),
    ):
        if not same:
            raise InputError(f"latencies cannot be compared: their {what} is not the same; measure both again")
    if first.lease == second.lease and len(first.windows_ms) == len(second.windows_ms):
        ratios = first.window_medians_ms / second.window_medians_ms
        ratio = float(np.median(ratios))
        interval = find_median_interval(ratios)
        apart = not interval[0] <= 1 <= interval[1]
    else:
        ratio = first.median_ms / second.median_ms
        interval = cut_tails(resample_medians(first.windows_ms) / resample_medians(second.windows_ms, seed=1))
        apart = first.ci95_ms[0] > second.ci95_ms[1] or first.ci95_ms[1] < second.ci95_ms[0]
    gap = max(get_protocol(first.protocol).gap, get_protocol(second.protocol).gap)
    enough = min(len(first.windows_ms), len(second.windows_ms)) >= FEWEST_VALUES
    return Comparison(ratio, interval, bool(apart and enough and abs(ratio - 1) > gap))
