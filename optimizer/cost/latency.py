"""Cost by measuring: student and base take turns on the target, in one lease, so that drift cancels in their ratio."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy import LatencyRecord, MeasurementFailure, Target, compare
from deploy.errors import MeasurementError
from optimizer.cost.base import Candidate, CostMeter, RelativeCost

__all__ = ["LatencyCost", "measure_student"]


@dataclass(frozen=True)
class LatencyCost:
    """Scores by latency on a target, fed with `images`, at a level of rigour (`deploy.measuring.protocols`).

    `report` takes a line of text at each step. A latency that cannot be established raises `MeasurementError`; it never
    becomes a number.
    """

    target: Target
    images: tuple[Path, ...]
    level: str
    report: Callable[[str], None] = lambda line: None

    def measure(self, student: Candidate, base: Candidate) -> RelativeCost:
        return measure_student(self, student, base)

    def measure_all(self, candidates: Mapping[int, Candidate]) -> dict[int, RelativeCost | MeasurementFailure]:
        """All in one lease; number 0 is the base."""
        subjects = {str(number): candidate.source for number, candidate in candidates.items()}
        answers = self.target.measure(subjects, self.images, self.level, report=self.report)
        base = answers["0"]
        if isinstance(base, MeasurementFailure):
            raise MeasurementError(f"no latency for the base: {base.reason}")
        return {
            int(name): answer if isinstance(answer, MeasurementFailure) else self.score(base, answer)
            for name, answer in answers.items()
        }

    def score(self, base: LatencyRecord, answer: LatencyRecord) -> RelativeCost | MeasurementFailure:
        """What a model costs compared with the base, both of one lease."""
        return RelativeCost(1.0 if answer is base else compare(base, answer).ratio, answer.to_json())


def measure_student(meter: CostMeter, student: Candidate, base: Candidate) -> RelativeCost:
    """One student and the base in one lease; a student without a latency is a `MeasurementError`."""
    candidates = {0: base} if student == base else {0: base, 1: student}
    found = meter.measure_all(candidates)[len(candidates) - 1]
    if isinstance(found, MeasurementFailure):
        raise MeasurementError(f"no latency for the student: {found.reason}")
    return found
