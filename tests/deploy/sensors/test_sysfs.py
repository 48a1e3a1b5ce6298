"""Files as the kernel shows them, written into a folder; what is not there is None."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.sensors.base import Reading
from deploy.sensors.sysfs import SysfsSensor


def write_files(root: Path, files: dict[str, object]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")


ORIN_NANO = {
    "devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": 729600,
    "devices/system/cpu/cpu5/cpufreq/scaling_cur_freq": 1510400,
    "class/thermal/thermal_zone0/type": "cpu-thermal",
    "class/thermal/thermal_zone0/temp": 48906,
    "class/thermal/thermal_zone8/type": "tj-thermal",
    "class/thermal/thermal_zone8/temp": 49156,
    "class/thermal/thermal_zone9/type": "board-of-no-interest",
    "class/thermal/thermal_zone9/temp": 90000,
    "class/devfreq/17000000.gpu/cur_freq": 624750000,
    "class/hwmon/hwmon1/name": "ina3221",
    "class/hwmon/hwmon1/in1_label": "VDD_IN",
    "class/hwmon/hwmon1/in1_input": 5000,
    "class/hwmon/hwmon1/curr1_input": 952,
    "class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV",
    "class/hwmon/hwmon1/in2_input": 5000,
    "class/hwmon/hwmon1/curr2_input": 200,
    "class/hwmon/hwmon2/name": "soctherm_oc",
    "class/hwmon/hwmon2/oc1_event_cnt": 3,
}


def test_a_board_tells_clocks_temperature_and_the_power_of_its_input(tmp_path: Path) -> None:
    write_files(tmp_path, ORIN_NANO)
    reading = SysfsSensor(tmp_path).read()
    assert reading.cpu_mhz == 1510.4 and reading.gpu_mhz == 624.75
    assert reading.temperature_c == 49.156, "of the parts that compute, not of the board"
    assert reading.power_mw == pytest.approx(5.0 * 952)
    assert reading.throttle == () and reading.memory_mhz is None and reading.energy_mj is None


def test_a_counter_that_rises_is_a_reason_once(tmp_path: Path) -> None:
    write_files(tmp_path, ORIN_NANO)
    sensor = SysfsSensor(tmp_path)
    assert sensor.read().throttle == (), "what happened before the measurement does not count"
    write_files(tmp_path, {"class/hwmon/hwmon2/oc1_event_cnt": 4})
    assert sensor.read().throttle == ("over-current",)
    assert sensor.read().throttle == ()


def test_a_system_without_sensors_tells_nothing_and_never_zero(tmp_path: Path) -> None:
    assert SysfsSensor(tmp_path).read() == Reading()


@pytest.mark.parametrize("content", ["", "broken", "-256000"])
def test_what_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    write_files(tmp_path, {"class/thermal/thermal_zone0/type": "x86_pkg_temp"})
    write_files(tmp_path, {"class/thermal/thermal_zone0/temp": content})
    assert SysfsSensor(tmp_path).read().temperature_c is None


def test_a_rail_without_its_current_is_no_power(tmp_path: Path) -> None:
    write_files(tmp_path, ORIN_NANO)
    (tmp_path / "class/hwmon/hwmon1/curr1_input").unlink()
    assert SysfsSensor(tmp_path).read().power_mw is None


def test_other_rails_are_not_summed_into_a_guess(tmp_path: Path) -> None:
    write_files(tmp_path, {name: value for name, value in ORIN_NANO.items() if "1_" not in name.rsplit("/", 1)[-1]})
    assert SysfsSensor(tmp_path).read().power_mw is None


def test_a_pc_is_read_from_its_cpus_own_chip(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "class/hwmon/hwmon0/name": "nvme",
            "class/hwmon/hwmon0/temp1_input": 80000,
            "class/hwmon/hwmon1/name": "k10temp",
            "class/hwmon/hwmon1/temp1_input": 55125,
            "devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": 0,
        },
    )
    reading = SysfsSensor(tmp_path).read()
    assert reading.temperature_c == 55.125 and reading.throttle == () and reading.cpu_mhz is None
