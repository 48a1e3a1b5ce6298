"""The figures that people read of a measured latency; the whole record is `deploy.LatencyRecord`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optimizer.errors import InputError
from optimizer.search.costs import COSTS, CostKind

__all__ = ["FurtherCost", "LatencyFigures"]


@dataclass(frozen=True)
class LatencyFigures:
    """Milliseconds for one image, and what has to be known before they are trusted.

    Attributes:
        target: name of the device.
        ci95_ms: 95 % interval of the median.
        flags: warnings, each a phrase.
        memory_mib: peak memory of the model there; None where that was not measured.
        energy_mj: gross energy of an image there; likewise.
    """

    target: str
    median_ms: float
    ci95_ms: tuple[float, float]
    p90_ms: float
    p99_ms: float
    flags: tuple[str, ...] = ()
    memory_mib: float | None = None
    energy_mj: float | None = None

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> LatencyFigures:
        """Those of a latency record in JSON; an `InputError` where they are none."""
        try:
            low, high = record["ci95_ms"]
            figures = (record["median_ms"], low, high, record["p90_ms"], record["p99_ms"])
            texts = (record["target"], *record["flags"])
            memory_mib, energy = record.get("memory_mib"), record.get("energy")
            energy_mj = None if energy is None else energy["gross_mj"]
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise InputError(f"not a latency record: {error!r:.160}") from error
        if not all(isinstance(ms, (int, float)) and 0 <= ms < math.inf for ms in figures):
            raise InputError(f"not a latency record: its milliseconds are {figures!r:.160}")
        for what, figure in (("memory", memory_mib), ("energy", energy_mj)):
            if figure is not None and not (isinstance(figure, (int, float)) and -math.inf < figure < math.inf):
                raise InputError(f"not a latency record: its {what} is {figure!r:.160}")
        if not all(isinstance(text, str) for text in texts):
            raise InputError(f"not a latency record: its target and flags are {texts!r:.160}")
        median, low, high, p90, p99 = figures
        return LatencyFigures(texts[0], median, (low, high), p90, p99, texts[1:], memory_mib, energy_mj)

    def __str__(self) -> str:
        return "{:.1f} ({:.1f}-{:.1f})".format(self.median_ms, *self.ci95_ms)

    def to_json(self) -> dict[str, Any]:
        """As `front.json` has it."""
        return {"median": self.median_ms, "p90": self.p90_ms, "p99": self.p99_ms, "ci95": list(self.ci95_ms)}


@dataclass(frozen=True)
class FurtherCost:
    """What a student costs beside what it is searched for: its latency on another target, or its energy.

    Attributes:
        ratio: cost of the base there divided by the student's, in one lease.
        latency: the student's latency record as JSON, which has its energy too.
        kind: a key of `COSTS`.
    """

    ratio: float
    latency: Mapping[str, Any]
    kind: str = "latency"

    @property
    def figures(self) -> LatencyFigures:
        """Of the latency, for readers."""
        return LatencyFigures.from_record(self.latency)

    @property
    def cost_kind(self) -> CostKind:
        return COSTS[self.kind]

    @property
    def own(self) -> float:
        """The student's own cost, in the unit of its kind."""
        figures = self.figures
        return figures.median_ms if self.cost_kind.is_latency else figures.energy_mj or 0.0

    def __str__(self) -> str:
        return str(self.figures) if self.cost_kind.is_latency else f"{self.own:.1f}"

    def to_front(self) -> dict[str, Any]:
        """As `front.json` has a latency on a further target."""
        return {**self.figures.to_json(), "base_over_own": self.ratio}

    def to_json(self) -> dict[str, Any]:
        kind = {} if self.kind == "latency" else {"kind": self.kind}
        return {"ratio": self.ratio, "latency": self.latency, **kind}
