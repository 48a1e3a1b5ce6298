"""What a student costs compared with the base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from deploy import MeasurementFailure, ModelSource
from optimizer.arch.macs import Cost
from optimizer.search.latency import FurtherCost

__all__ = ["Candidate", "CostMeter", "RelativeCost"]


@dataclass(frozen=True)
class Candidate:
    """An exported model, how images reach it and objects leave it, and its parameters and operations.

    Attributes:
        everywhere: whether its latency is asked for on further targets too, where a run has some.
    """

    source: ModelSource
    counts: Cost
    everywhere: bool = True


@dataclass(frozen=True)
class RelativeCost:
    """A cost as the search needs it.

    Attributes:
        ratio: cost of the base divided by cost of the student; above 1 is cheaper than the base.
        latency: the student's latency record as JSON; None where no latency was measured.
        elsewhere: the same on further targets, by name.
    """

    ratio: float
    latency: Mapping[str, Any] | None
    elsewhere: Mapping[str, FurtherCost] = field(default_factory=dict)


class CostMeter(Protocol):
    """Compares students with the base; the base compared with itself is 1."""

    def measure(self, student: Candidate, base: Candidate) -> RelativeCost:
        """One student compared with the base."""
        ...

    def measure_all(self, candidates: Mapping[int, Candidate]) -> dict[int, RelativeCost | MeasurementFailure]:
        """Several at once, by number; number 0 is the base and must be among them.

        Raises:
            MeasurementError: the base has no latency, so that no other one's says anything.
        """
        ...
