"""Several targets measured for one trial: at once where they are different machines, in turn where they share one."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from deploy import EngineSpec, LatencyRecord, MeasurementFailure, ModelSource, Preprocess, TargetSpec, compare
from deploy import Measured as Answer
from deploy.errors import BoardError, DeployError, MeasurementError
from deploy.measuring.device import read_fingerprint
from deploy.measuring.record import Canary, WarmUp
from deploy.targets import LinkSpec
from optimizer.arch.macs import Cost
from optimizer.cost.base import Candidate, RelativeCost
from optimizer.cost.latency import LatencyCost
from optimizer.cost.several import LatencyOnSeveral

BASE, STUDENT, PROBE = (
    Candidate(ModelSource(Path(name), Preprocess.imagenet(64, 64)), Cost()) for name in ("base", "student", "probe")
)
PROBE = replace(PROBE, everywhere=False)


def make_record(ms: float, target: str) -> LatencyRecord:
    """Twelve windows round a latency, all of one lease."""
    windows = tuple((ms * (1 + 0.001 * (index % 3)),) * 5 for index in range(12))
    return LatencyRecord(
        "final", "", target, read_fingerprint("", 1), "lease", "2026-11-21T00:00:00+00:00", windows, 1.0,
        (WarmUp(3, True),), "runs", "noise", None, (Canary(1.0, 1.0),),
    )  # fmt: skip


@dataclass
class Device:
    """A target with a latency for each model by its file's name, which notes what it is asked for.

    Attributes:
        host: of the board; "" is this machine.
        meets: waited at while measuring: only who measures at the same time gets on.
        fails: raised instead of an answer.
    """

    name: str
    ms: Mapping[str, float]
    host: str = ""
    meets: threading.Barrier | None = None
    fails: DeployError | None = None
    log: list[str] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    @property
    def spec(self) -> TargetSpec:
        link = LinkSpec("ssh", host=self.host) if self.host else LinkSpec()
        return TargetSpec(self.name, link, EngineSpec())

    def measure(
        self, subjects: Mapping[str, ModelSource], images: Sequence[Path] = (), protocol: str = "", **more: Any
    ) -> dict[str, Answer]:
        self.asked.append([subject.model.name for subject in subjects.values()])
        self.threads.append(threading.current_thread())
        self.log.append(f"{self.name} begins")
        if self.meets is not None:
            self.meets.wait(timeout=20)
        if self.fails is not None:
            raise self.fails
        self.log.append(f"{self.name} ends")
        return {name: self._answer(subject.model.name) for name, subject in subjects.items()}

    def _answer(self, model: str) -> Answer:
        if model not in self.ms:
            return MeasurementFailure("final", model, self.name, "the engine refused it")
        return make_record(self.ms[model], self.name)


def on(*devices: Device) -> LatencyOnSeveral:
    primary, *further = (LatencyCost(device, (), "final") for device in devices)  # type: ignore[arg-type]
    return LatencyOnSeveral(primary, tuple(further))


def test_every_target_gives_a_record_and_a_ratio_of_its_own() -> None:
    one, two = Device("one", {"base": 20, "student": 10}), Device("two", {"base": 30, "student": 10}, host="two")
    cost = on(one, two).measure(STUDENT, BASE)
    assert cost.ratio == pytest.approx(2) and cost.latency is not None and cost.latency["target"] == "one"
    (further,) = cost.elsewhere.values()
    assert further.ratio == compare(make_record(30, "two"), make_record(10, "two")).ratio
    assert further.figures.target == "two" and further.figures.median_ms == pytest.approx(10, rel=0.01)
    base = on(one, two).measure(BASE, BASE)
    assert base.ratio == base.elsewhere["two"].ratio == 1


def test_different_machines_measure_at_once_and_this_one_in_the_thread_that_asks() -> None:
    meets = threading.Barrier(3)
    ms = {"base": 2.0, "student": 1.0}
    devices = [Device("a", ms, "u@a", meets), Device("here", ms, "", meets), Device("b", ms, "b", meets)]
    assert set(on(*devices).measure(STUDENT, BASE).elsewhere) == {"here", "b"}, "nobody waited in vain for another"
    assert devices[1].threads == [threading.current_thread()]


@pytest.mark.parametrize("host", ["", "me@127.0.0.1", "localhost"])
def test_one_machine_measures_one_thing_at_a_time(host: str) -> None:
    log: list[str] = []
    ms = {"base": 2.0, "student": 1.0}
    on(Device("one", ms, log=log), Device("two", ms, host, log=log)).measure(STUDENT, BASE)
    assert log == ["one begins", "one ends", "two begins", "two ends"]


def test_what_is_made_for_the_first_target_is_measured_there_alone() -> None:
    ms = {"base": 4.0, "student": 2.0, "probe": 1.0}
    one, two = Device("one", ms), Device("two", ms)
    found = on(one, two).measure_all({0: BASE, 1: PROBE, 2: STUDENT})
    probe, student = found[1], found[2]
    assert isinstance(probe, RelativeCost) and not probe.elsewhere and probe.ratio == pytest.approx(4)
    assert isinstance(student, RelativeCost) and student.elsewhere["two"].ratio == pytest.approx(2)
    assert one.asked == [["base", "probe", "student"]] and two.asked == [["base", "student"]]
    found = on(one, two).measure_all({0: replace(BASE, everywhere=False), 1: PROBE})
    assert isinstance(found[1], RelativeCost) and len(two.asked) == 1, "with nothing to compare no lease is taken"


def test_a_student_without_a_latency_on_one_of_them_has_none() -> None:
    one, two = Device("one", {"base": 2.0, "student": 1.0}), Device("two", {"base": 2.0})
    with pytest.raises(MeasurementError, match="no latency for the student: on target two: the engine refused it"):
        on(one, two).measure(STUDENT, BASE)
    with pytest.raises(MeasurementError, match="no latency for the student: the engine refused it"):
        on(two, one).measure(STUDENT, BASE)
    with pytest.raises(MeasurementError, match="on target three: no latency for the base"):
        on(one, Device("three", {})).measure(STUDENT, BASE)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_board_that_vanishes_is_that_error_once_the_others_have_ended(place: int) -> None:
    ms = {"base": 2.0, "student": 1.0}
    devices = [Device("one", ms), Device("two", ms, "two"), Device("three", ms, "three")]
    devices[place].fails = gone = BoardError("the board is gone")
    with pytest.raises(BoardError) as raised:
        on(*devices).measure(STUDENT, BASE)
    assert raised.value is gone
    assert all(device.log[-1] == f"{device.name} ends" for device in devices if device.fails is None)
