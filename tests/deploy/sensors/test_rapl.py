"""The energy counters of CPUs, as the kernel shows them in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.sensors import open_sensors
from deploy.sensors.base import Reading
from deploy.sensors.rapl import RaplSensor, find_counters

FULL_UJ = 262_143_328_850


def write_zone(root: Path, zone: str, name: str, energy_uj: object, full_uj: object = FULL_UJ) -> None:
    folder = root / "class/powercap" / zone
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in (("name", name), ("energy_uj", energy_uj), ("max_energy_range_uj", full_uj)):
        (folder / file).write_text(f"{content}\n")


def test_packages_are_summed_and_their_parts_are_not(tmp_path: Path) -> None:
    for package in (0, 1):
        write_zone(tmp_path, f"intel-rapl:{package}", f"package-{package}", 5_000_000)
        write_zone(tmp_path, f"intel-rapl:{package}:0", "core", 3_000_000)
    write_zone(tmp_path, "intel-rapl:2", "psys", 50_000_000)
    sensor = RaplSensor(tmp_path)
    assert sensor.read() == Reading(energy_mj=0.0), "what was spent before does not count"
    write_zone(tmp_path, "intel-rapl:0", "package-0", 7_000_000)
    write_zone(tmp_path, "intel-rapl:1", "package-1", 5_500_000)
    assert sensor.read().energy_mj == 2500.0


def test_a_counter_that_was_full_goes_on(tmp_path: Path) -> None:
    write_zone(tmp_path, "intel-rapl:0", "package-0", FULL_UJ - 1_000_000)
    sensor = RaplSensor(tmp_path)
    assert sensor.read().energy_mj == 0.0
    write_zone(tmp_path, "intel-rapl:0", "package-0", 2_000_000)
    assert sensor.read().energy_mj == pytest.approx(3000.0)
    write_zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000, "unknown")
    assert sensor.read().energy_mj == pytest.approx(3000.0), "and is never negative"


def test_what_cannot_be_read_is_none_and_not_a_part_of_the_sum(tmp_path: Path) -> None:
    assert RaplSensor(tmp_path).read() == Reading()
    write_zone(tmp_path, "intel-rapl:0", "package-0", 1)
    write_zone(tmp_path, "intel-rapl:1", "package-1", "")
    assert RaplSensor(tmp_path).read() == Reading()
    assert len(find_counters(tmp_path)) == 2


def test_it_is_asked_of_a_cpu_and_not_where_a_gpu_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zone(tmp_path, "intel-rapl:0", "package-0", 1)
    monkeypatch.setattr("deploy.sensors.catalogue.SYSFS", tmp_path)
    for gpu, found in ((False, [0.0]), (True, [])):
        readings = [sensor.read() for sensor in open_sensors(gpu, 0.1)]
        assert [reading.energy_mj for reading in readings if reading.energy_mj is not None] == found
