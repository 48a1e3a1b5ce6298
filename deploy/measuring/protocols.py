"""How long, how often and how a latency is timed: the protocols, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Mapping, Sequence

from deploy.errors import InputError

__all__ = ["EXTRAS", "MODES", "PROTOCOLS", "MeasuringProtocol", "get_protocol"]

MODES: dict[str, float] = {"sustained": 0.0, "burst": 0.2}  # seconds of rest before every run
PEAK_RUNS = 4
EXTRAS: dict[
    str, Mapping[str, Any]
] = {  # what can be asked for besides, whatever the protocol, and the rules that it is read by
    "memory": {"peak_runs": PEAK_RUNS},
    "energy": {"energy_s": 3.0, "idle_s": 1.0},
}
BURST_RUNS = 35  # a window of "burst" holds no more, because each of them waits for its rest


@dataclass(frozen=True)
class MeasuringProtocol:
    """Rules of one protocol; all seconds and runs are for one model in one process.

    Warm-up goes on until `warm_up_runs` and `warm_up_s` are reached and the medians of three successive windows differ
    by less than `settled`, at most `warm_up_cap_s`. Then models are timed in turns, a window each, until each has
    `windows` of them or `cap_s` per model is over, but never in fewer than `min_windows`; the record says which it was.
    The number of windows is what the interval of a ratio follows from: each is a session of its own, and what a session
    got of the machine varies more than the runs in it. So a window is short, and a slow model has enough of them too.

    Attributes:
        window_runs, window_s: a window ends with the first of the two, but holds at least `window_min_runs`.
        processes: fresh processes the whole is repeated in.
        images: at most so many are used.
        gap: relative difference below which two models are never called different.
        canary_s: how long the canary is timed before and after; drift_limit: how far it may move without a flag.
        repeat_drift: a lease in which it moved further is repeated, at most `retries` times; the steadier one is kept.
            Where only ratios within the lease count, from which a drift cancels, this is a wider limit.
        effort: effort of an engine that has a builder, one of `deploy.builders.plans.EFFORTS`.
        caveat: a flag every record of this protocol carries.
        mode: "sustained" runs back to back; "burst" rests for `gap_s` before every run, so that nothing throttles.
        energy_s: how long each model runs back to back for its energy, after the timing, and idle_s: how long the
            device is watched at rest, before it; both only where power can be read.
        peak_runs: how often each model is run, in a process of its own at the end, for its peak memory.
    """

    warm_up_runs: int
    warm_up_s: float
    warm_up_cap_s: float
    windows: int
    min_windows: int
    cap_s: float
    window_runs: int
    window_s: float
    window_min_runs: int
    processes: int
    images: int
    gap: float
    canary_s: float
    retries: int
    drift_limit: float = 0.02
    repeat_drift: float = 0.02
    settled: float = 0.01
    caveat: str | None = None
    effort: int = 3
    mode: str = "sustained"
    gap_s: float = 0.0
    energy_s: float = 0.0
    idle_s: float = 0.0
    peak_runs: int = 0


PROTOCOLS: dict[str, MeasuringProtocol] = {
    "quick": MeasuringProtocol(
        warm_up_runs=3, warm_up_s=0.05, warm_up_cap_s=0.5, windows=3, min_windows=1, cap_s=0.7,
        window_runs=5, window_s=0.1, window_min_runs=2, processes=1, images=4, gap=0.10, canary_s=0.05, retries=0,
        caveat="quick protocol: shows that everything works, judges nothing",
    ),
    "screen": MeasuringProtocol(
        warm_up_runs=6, warm_up_s=0.3, warm_up_cap_s=1.0, windows=7, min_windows=6, cap_s=4.0,
        window_runs=150, window_s=0.15, window_min_runs=2, processes=1, images=16, gap=0.03, canary_s=0.15, retries=1,
        repeat_drift=0.10, settled=0.03,
    ),
    "final": MeasuringProtocol(
        warm_up_runs=50, warm_up_s=0.5, warm_up_cap_s=10.0, windows=10, min_windows=2, cap_s=12.0,
        window_runs=1000, window_s=1.0, window_min_runs=5, processes=3, images=64, gap=0.01, canary_s=0.5, retries=1,
        energy_s=10.0, idle_s=3.0, peak_runs=PEAK_RUNS, effort=5,
    ),
}  # fmt: skip


def get_protocol(name: str, mode: str = "sustained", also: Sequence[str] = ()) -> MeasuringProtocol:
    """The rules of a protocol in a mode, whose rests prolong every limit; an `InputError` lists what there is.

    ``also`` names members of `EXTRAS`, which are read whatever the protocol.
    """
    asked: list[tuple[str, str, Mapping[str, Any]]] = [
        ("protocol", name, PROTOCOLS), ("mode", mode, MODES), *(("extra", extra, EXTRAS) for extra in also),
    ]  # fmt: skip
    for what, value, known in asked:
        if value not in known:
            raise InputError(f"unknown {what} {value!r}; there are: {', '.join(known)}")
    protocol, gap_s = PROTOCOLS[name], MODES[mode]
    least = {key: value for extra in also for key, value in EXTRAS[extra].items()}
    window_runs = min(protocol.window_runs, BURST_RUNS) if gap_s else protocol.window_runs
    return replace(
        protocol,
        mode=mode,
        gap_s=gap_s,
        window_runs=window_runs,
        warm_up_cap_s=protocol.warm_up_cap_s + gap_s * (protocol.warm_up_runs + 3 * window_runs),
        window_s=protocol.window_s + gap_s * window_runs,
        cap_s=protocol.cap_s + gap_s * protocol.windows * window_runs,
        **{key: max(getattr(protocol, key), value) for key, value in least.items()},
    )
