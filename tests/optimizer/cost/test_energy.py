"""Energy as what students are scored by: ratios of one lease, and a refusal where a device does not tell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from made_trials import make_record

from deploy import Measured, MeasurementFailure, ModelSource, Preprocess, TargetSpec
from deploy.data import Dataset
from deploy.errors import MeasurementError
from deploy.sensors import Energy
from optimizer.arch.macs import Cost
from optimizer.cost.base import Candidate, RelativeCost
from optimizer.cost.energy import EnergyCost, LatencyAndEnergy
from optimizer.cost.latency import LatencyCost
from optimizer.cost.macs import MacsCost
from optimizer.cost.several import LatencyOnSeveral
from optimizer.data.shapes import CLASS_NAMES
from optimizer.errors import InputError
from optimizer.recipes import quick
from optimizer.run.checks import check_targets
from optimizer.search.costs import COSTS
from optimizer.trials.judge import build_meter
from optimizer.trials.targets import open_targets

BASE, STUDENT = (
    Candidate(ModelSource(Path(name), Preprocess.imagenet(64, 64)), Cost()) for name in ("base", "student")
)


@dataclass
class Meter:
    """A target that tells the millijoules of each model, or does not; all take 10 ms."""

    mj: Mapping[str, float | None]
    spec: TargetSpec = field(default_factory=lambda: TargetSpec("board"))

    def measure(
        self, subjects: Mapping[str, ModelSource], images: Sequence[Path] = (), protocol: str = "", **more: Any
    ) -> dict[str, Measured]:
        found: dict[str, Measured] = {}
        for name, subject in subjects.items():
            drawn = self.mj[subject.model.name]
            energy = None if drawn is None else Energy(drawn, None, None, 100, 3.0)
            found[name] = replace(make_record(10.0, subject.model.name), energy=energy)
        return found


def measure(
    mj: Mapping[str, float | None], meter: type[LatencyCost] = EnergyCost
) -> dict[int, RelativeCost | MeasurementFailure]:
    return meter(Meter(mj), (), "screen").measure_all({0: BASE, 1: STUDENT})  # type: ignore[arg-type]


def test_the_ratio_is_of_energies_and_the_latency_is_on_record() -> None:
    found = measure({"base": 300.0, "student": 120.0})
    base, student = found[0], found[1]
    assert isinstance(base, RelativeCost) and isinstance(student, RelativeCost)
    assert (base.ratio, student.ratio) == (1.0, 2.5)
    assert student.latency is not None and student.latency["median_ms"] == pytest.approx(10, rel=0.01)
    assert student.latency["energy"]["gross_mj"] == 120.0


@pytest.mark.parametrize("meter", [EnergyCost, LatencyAndEnergy])
@pytest.mark.parametrize("unread", [None, 0.0])
def test_an_energy_that_was_not_read_is_no_number(unread: float | None, meter: type[LatencyCost]) -> None:
    failed = measure({"base": 300.0, "student": unread}, meter)[1]
    assert isinstance(failed, MeasurementFailure) and "energy could not be read" in failed.reason
    with pytest.raises(MeasurementError, match="no energy for the base"):
        measure({"base": unread, "student": 120.0}, meter)


def test_beside_latency_energy_is_a_cost_of_its_own() -> None:
    found = measure({"base": 300.0, "student": 120.0}, LatencyAndEnergy)
    base, student = found[0], found[1]
    assert isinstance(base, RelativeCost) and isinstance(student, RelativeCost)
    assert student.ratio == pytest.approx(1, rel=0.05), "all take 10 ms"
    energy = student.elsewhere["energy on board"]
    assert (energy.ratio, energy.own, str(energy)) == (2.5, 120.0, "120.0")
    assert base.elsewhere["energy on board"].ratio == 1.0


def test_what_measures_is_of_the_kind_that_is_scored() -> None:
    config, images = quick(), Dataset(CLASS_NAMES, (), ())
    targets = open_targets(config)
    kinds = {
        name: type(build_meter(config.changed({"search.cost": name}), targets, images, "screen", print))
        for name in COSTS
    }
    assert kinds == {
        "latency": LatencyCost, "latency+energy": LatencyAndEnergy, "energy": EnergyCost, "macs": MacsCost,
    }  # fmt: skip
    several = build_meter(config.changed({"search.cost": "energy"}), targets * 2, images, "screen", print)
    assert isinstance(several, LatencyOnSeveral) and isinstance(several.primary, EnergyCost)
    assert [type(meter) for meter in several.further] == [LatencyCost], "elsewhere it is latency"


@pytest.mark.parametrize("score", ["energy", "latency+energy"])
def test_a_target_that_does_not_tell_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, score: str
) -> None:
    config = quick().changed({"search.cost": score})
    monkeypatch.setattr("deploy.sensors.catalogue.SYSFS", tmp_path)
    words = f"'cpu' does not tell energy, which --score {re.escape(score)} needs: no counter and no"
    with pytest.raises(InputError, match=words):
        check_targets(config)
    zone = tmp_path / "class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    with pytest.raises(InputError, match=r"energy_uj cannot be read by this user; sudo chmod a\+r .*energy_uj"):
        check_targets(config)
    (zone / "energy_uj").write_text("12345\n")
    [target] = check_targets(config)
    assert target.spec.measuring.also == ("energy",)


def test_an_unknown_cost_says_what_there_is() -> None:
    with pytest.raises(InputError, match=r"cost \(--score\) 'money'.*energy, latency, latency\+energy, macs"):
        quick().changed({"search.cost": "money"})


def test_a_target_called_as_the_axis_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text('name = "energy on cpu"\n')
    config = quick().changed({"search.cost": "latency+energy", "further_targets": (str(file),)})
    with pytest.raises(InputError, match="a target is called 'energy on cpu', as the energy of 'cpu' is"):
        open_targets(config)
