"""Energy a frame, from the readings of a device at work and at rest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Mapping, Sequence

import numpy as np

from deploy.sensors.base import Sample, Span

__all__ = ["Energy", "find_energy", "merge_energies"]

FEWEST_SAMPLES = 3  # inside a span; of fewer a mean power is chance


@dataclass(frozen=True)
class Energy:
    """What one image costs, preprocessing included, run after run without a gap.

    Attributes:
        gross_mj: millijoules a frame of all that is metered (a board's input, or a GPU with its memory).
        net_mj: less what it would have drawn at rest for as long, `idle_mw`; None where rest was not metered.
        frames, seconds: of the stretch that was metered.
    """

    gross_mj: float
    net_mj: float | None
    idle_mw: float | None
    frames: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Energy:
        return Energy(**value)


def find_energy(samples: Sequence[Sample], work: Span, idle: Span | None) -> Energy | None:
    """The energy of a span's frames; None where no power could be read in it."""
    spent_mj = _integrate(samples, work)
    if spent_mj is None or not work.frames:
        return None
    seconds = work.end_s - work.start_s
    rest_mj = None if idle is None else _integrate(samples, idle)
    idle_mw = None if idle is None or rest_mj is None else rest_mj / (idle.end_s - idle.start_s)
    return Energy(
        gross_mj=round(spent_mj / work.frames, 4),
        net_mj=None if idle_mw is None else round((spent_mj - idle_mw * seconds) / work.frames, 4),
        idle_mw=None if idle_mw is None else round(idle_mw, 1),
        frames=work.frames,
        seconds=round(seconds, 3),
    )


def merge_energies(parts: Sequence[Energy | None]) -> Energy | None:
    """Of several processes, a frame counting as a frame; None if one of them has none."""
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    frames = sum(part.frames for part in known)
    seconds = sum(part.seconds for part in known)
    net = [(part.net_mj, part.frames) for part in known if part.net_mj is not None]
    idle = [(part.idle_mw, part.seconds) for part in known if part.idle_mw is not None]
    whole = len(net) == len(idle) == len(known)
    return Energy(
        gross_mj=round(sum(part.gross_mj * part.frames for part in known) / frames, 4),
        net_mj=round(sum(value * weight for value, weight in net) / frames, 4) if whole else None,
        idle_mw=round(sum(value * weight for value, weight in idle) / seconds, 1) if whole else None,
        frames=frames,
        seconds=round(seconds, 3),
    )


def _integrate(samples: Sequence[Sample], span: Span) -> float | None:
    """Millijoules in a span: the counter's difference where there is one, else power over time."""
    for name, is_counter in (("energy_mj", True), ("power_mw", False)):
        found = [(sample.at_s, getattr(sample.reading, name)) for sample in samples]
        known = [(at_s, value) for at_s, value in found if value is not None]
        inside = sum(span.start_s <= at_s <= span.end_s for at_s, _ in known)
        if inside < FEWEST_SAMPLES or known[0][0] > span.start_s or known[-1][0] < span.end_s:
            continue
        times, values = np.array(known).T
        if not is_counter:  # mW times s is mJ
            steps = np.diff(times) * (values[1:] + values[:-1]) / 2
            values = np.concatenate([[0.0], np.cumsum(steps)])
        start, end = np.interp((span.start_s, span.end_s), times, values)
        return float(end - start)
    return None
