"""Cost by arithmetic: multiply-accumulates of convolutions and linears. The same on every machine, true on none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deploy import MeasurementFailure
from optimizer.cost.base import Candidate, RelativeCost

__all__ = ["MacsCost"]


@dataclass(frozen=True)
class MacsCost:
    """Scores by `Cost.macs`; nothing is run."""

    def measure(self, student: Candidate, base: Candidate) -> RelativeCost:
        return RelativeCost(ratio=base.counts.macs / student.counts.macs, latency=None)

    def measure_all(self, candidates: Mapping[int, Candidate]) -> dict[int, RelativeCost | MeasurementFailure]:
        return {number: self.measure(candidate, candidates[0]) for number, candidate in candidates.items()}
