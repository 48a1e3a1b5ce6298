"""Cost on several targets: one decides, and what a student's latency is on the others is kept beside it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from deploy import MeasurementFailure
from deploy.errors import MeasurementError
from optimizer.cost.base import Candidate, RelativeCost
from optimizer.cost.latency import LatencyCost, measure_student
from optimizer.search.latency import FurtherCost

__all__ = ["LatencyOnSeveral"]

Answers = dict[int, RelativeCost | MeasurementFailure]


@dataclass(frozen=True)
class LatencyOnSeveral:
    """Cost on `primary`, and latency on further targets: each in a lease of its own, on different machines at once.

    What does not give a latency on one of them has none. A further target is asked for candidates that are wanted
    everywhere, and not at all where there is none.
    """

    primary: LatencyCost
    further: tuple[LatencyCost, ...]

    def measure(self, student: Candidate, base: Candidate) -> RelativeCost:
        return measure_student(self, student, base)

    def measure_all(self, candidates: Mapping[int, Candidate]) -> Answers:
        """All on all targets; number 0 is the base."""
        asked = {number: candidate for number, candidate in candidates.items() if candidate.everywhere}
        jobs = [_Job(self.primary, candidates), *(_Job(meter, {**asked, 0: candidates[0]}) for meter in self.further)]
        _do(jobs if asked else jobs[:1])
        found = jobs[0].answers
        if asked:
            for job in jobs[1:]:
                found = {number: _join(found[number], job, number) for number in candidates}
        return found


class _Job:
    """One lease: what is to be measured there, and what came of it.

    Attributes:
        error: what it was stopped by; None before and where nothing was wrong.
    """

    def __init__(self, meter: LatencyCost, candidates: Mapping[int, Candidate]) -> None:
        self.meter, self.candidates = meter, candidates
        self.answers: Answers = {}
        self.error: BaseException | None = None

    @property
    def target(self) -> str:
        return self.meter.target.spec.name

    @property
    def machine(self) -> str:
        return self.meter.target.spec.link.machine

    def do(self) -> None:
        try:
            self.answers = self.meter.measure_all(self.candidates)
        except Exception as error:  # of a thread: whoever waits for it raises it
            self.error = error


def _do(jobs: Sequence[_Job]) -> None:
    """Those of one machine one after the other, machines side by side; the first error once all measuring has ended.

    This machine's are done by the thread that asks, so that an interrupt ends their processes; the threads of others
    end with this process, and a board's agent with its connection.
    """
    by_machine: dict[str, list[_Job]] = defaultdict(list)
    for job in jobs:
        by_machine[job.machine].append(job)
    own = by_machine.pop("", None) or by_machine.popitem()[1]
    threads = [threading.Thread(target=_do_in_turn, args=(others,), daemon=True) for others in by_machine.values()]
    for thread in threads:
        thread.start()
    _do_in_turn(own)
    for thread in threads:
        thread.join()
    for place, job in enumerate(jobs):
        if isinstance(job.error, MeasurementError) and place:
            raise MeasurementError(f"on target {job.target}: {job.error}") from job.error
        if job.error is not None:
            raise job.error


def _do_in_turn(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        job.do()
        if job.error is not None:
            return


def _join(found: RelativeCost | MeasurementFailure, job: _Job, number: int) -> RelativeCost | MeasurementFailure:
    """What was found so far of a candidate, with what this job found."""
    answer = job.answers[number] if number in job.candidates else None
    if isinstance(found, MeasurementFailure) or answer is None:
        return found
    if isinstance(answer, MeasurementFailure):
        return replace(answer, reason=f"on target {job.target}: {answer.reason}")
    assert answer.latency is not None, "a latency was measured"
    return replace(found, elsewhere={**found.elsewhere, job.target: FurtherCost(answer.ratio, answer.latency)})
