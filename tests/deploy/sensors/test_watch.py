"""The sensors' own process, and what its readings amount to."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from deploy.sensors import Conditions, Reading, Sample, Span, Watch, describe_reading, find_slowdown, note_conditions
from deploy.sensors.base import merge_readings
from deploy.sensors.watch import parse_samples


@pytest.fixture(autouse=True)
def no_sensors_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.sensors.catalogue.SYSFS", tmp_path / "sys")


def test_a_child_reads_at_the_interval_until_the_end(fake_nvml: Path) -> None:
    with Watch(gpu=True, interval_s=0.02) as watch:
        started = time.monotonic()
        time.sleep(0.3)
        ended = time.monotonic()
    inside = [sample for sample in watch.samples if started <= sample.at_s <= ended]
    assert len(inside) >= 3 and watch.note is None
    assert {sample.reading.gpu_mhz for sample in inside} == {1410}
    assert watch.samples[0].at_s <= started and watch.samples[-1].at_s >= ended, "the whole measurement is covered"


def test_a_machine_that_tells_nothing_gets_no_child() -> None:
    with Watch(gpu=False, interval_s=0.02) as watch:
        assert watch._child is None
    assert watch.start == Reading() and watch.samples == [] and watch.note is None


def test_a_child_that_dies_is_noted_and_what_it_read_counts(fake_nvml: Path) -> None:
    with Watch(gpu=True, interval_s=0.02) as watch:
        assert watch._child is not None
        watch._child.kill()
        watch._child.wait()
    assert watch.note is not None and "the sensors stopped early" in watch.note
    assert len(watch.samples) >= 1


def test_a_line_cut_off_is_left_out() -> None:
    text = '[1.5, [50.0, null, null, null, null, null, ["sw power cap"]]]\n[2.5, [51.0, nu'
    assert parse_samples(text) == [Sample(1.5, Reading(temperature_c=50.0, throttle=("sw power cap",)))]


def test_readings_are_merged_first_come_and_reasons_collected() -> None:
    merged = merge_readings([Reading(50, gpu_mhz=1000, throttle=()), Reading(60, 2000, throttle=("over-current",))])
    assert merged == Reading(50, 2000, 1000, throttle=("over-current",))
    assert merge_readings([Reading(), Reading()]) == merge_readings([]) == Reading()


SAMPLES = [
    Sample(0, Reading(40, gpu_mhz=300, throttle=("hw slowdown",))),
    Sample(1, Reading(50, gpu_mhz=1000, throttle=())),
    Sample(2, Reading(55, gpu_mhz=1050, throttle=("sw power cap",))),
    Sample(3, Reading(52, gpu_mhz=300, throttle=())),
]


def test_clocks_and_throttling_are_those_of_the_timing_temperatures_of_the_whole() -> None:
    conditions = Conditions.of(SAMPLES, Span(0.5, 2.5))
    assert conditions == Conditions(40, 52, None, (1000, 1050), None, ("sw power cap",), 2)
    assert conditions.gpu_clock_variation == pytest.approx(0.05)
    assert Conditions.from_json(conditions.to_json()) == conditions
    assert find_slowdown(conditions) is None, "a change of clocks before the timing is not one while timing"
    notes = note_conditions(conditions)
    assert len(notes) == 2 and "sw power cap" in notes[0] and "more than 3%" in notes[1]


def test_steady_conditions_have_nothing_to_note() -> None:
    steady = Conditions(gpu_mhz=(1000, 1029), throttle=("application clocks",))
    assert note_conditions(steady) == () and find_slowdown(steady) is None
    assert note_conditions(Conditions()) == () and Conditions.of([], Span(0, 1)) == Conditions()


@pytest.mark.parametrize("reason", ["hw slowdown", "hw thermal slowdown", "hw power brake", "over-current"])
def test_hardware_that_slows_itself_down_is_no_measurement(reason: str) -> None:
    slowdown = find_slowdown(Conditions(60, 95, throttle=("sw power cap", reason)))
    assert slowdown is not None and f"{reason} (from 60 C to 95 C)" in slowdown


def test_a_reading_is_described_with_what_is_missing() -> None:
    line = describe_reading(Reading(45.4, gpu_mhz=1000))
    assert line == "sensors: temperature 45 C, GPU 1000 MHz, not readable here: CPU, power"
