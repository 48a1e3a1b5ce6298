"""Cost by measuring: student and base take turns on the target, in one lease, so that drift cancels in their ratio."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy import LatencyRecord, Subject, Target, compare
from deploy.errors import MeasurementError
from optimizer.cost.base import Candidate, Measured

__all__ = ["LatencyCost"]


@dataclass(frozen=True)
class LatencyCost:
    """Scores by latency on a target, fed with `images`, at a level of rigour (`deploy.protocols`).

    `report` takes a line of text at each step. A latency that cannot be established raises `MeasurementError`; it never
    becomes a number.
    """

    target: Target
    images: tuple[Path, ...]
    level: str
    report: Callable[[str], None] = lambda line: None

    def measure(self, student: Candidate, base: Candidate) -> Measured:
        if student == base:
            return self.measure_all({0: base})[0]
        return self.measure_all({0: base, 1: student})[1]

    def measure_all(self, candidates: Mapping[int, Candidate]) -> dict[int, Measured]:
        """All in one lease; number 0 is the base."""
        subjects = {str(n): Subject(c.model, c.preprocess, c.head, c.selection) for n, c in candidates.items()}
        answers = self.target.measure(subjects, self.images, self.level, report=self.report)
        records: dict[int, LatencyRecord] = {}
        for name, answer in answers.items():
            if not isinstance(answer, LatencyRecord):
                raise MeasurementError(f"no latency for model {name}: {answer.reason}")
            records[int(name)] = answer
        base = records[0]
        return {
            number: Measured(
                ratio=compare(base, record).ratio if number else 1.0,
                latency=record.to_json(),
                details={"base_in_lease": {"median_ms": base.median_ms, "lease": base.lease}},
            )
            for number, record in records.items()
        }
