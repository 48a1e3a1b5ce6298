"""Lines of tegrastats in the documented format, of several releases; and the program itself, played by a script."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from deploy.sensors import Reading, Watch, read_now
from deploy.sensors.tegra import TegrastatsSensor, parse_power_mode, parse_tegrastats, read_power_mode

ORIN = (
    "11-21-2026 10:00:01 RAM 2250/7620MB (lfb 3x4MB) SWAP 0/3810MB (cached 0MB) CPU [66%@1728,16%@1510,off,9%@729] "
    "EMC_FREQ 18%@2133 GR3D_FREQ 61%@[624] NVDEC off APE 200 cpu@45.968C soc2@45.156C gpu@-256C tj@46.25C "
    "Tboard@60C VDD_IN 4046mW/4236mW VDD_CPU_GPU_CV 720mW/786mW VDD_SOC 1201mW/1261mW"
)
XAVIER = (
    "RAM 2673/7765MB (lfb 118x4MB) SWAP 0/3883MB (cached 0MB) CPU [12%@1190,8%@1190] EMC_FREQ 2%@1600 "
    "GR3D_FREQ 35%@1109 AO@40.5C GPU@41C PMIC@100C AUX@40.5C CPU@42.5C thermal@41.2C VDD_IN 3482/3300 VDD_SOC 812/810"
)
IDLE = "RAM 775/7620MB (lfb 3x4MB) CPU [1%@729,0%@729] GR3D_FREQ 0% cpu@48.468C tj@49.156C VDD_IN 4761mW/4778mW"


@pytest.mark.parametrize(
    ("line", "reading"),
    [
        (ORIN, Reading(46.25, 1728, 624, 2133, 4046)),
        (XAVIER, Reading(42.5, 1190, 1109, 1600, 3482)),
        (IDLE, Reading(49.156, 729, None, None, 4761)),
        ("", Reading()),
        ("tegrastats: command failed", Reading()),
        ("CPU [off,off] cpu@-256C", Reading()),
    ],
    ids=["orin", "xavier", "no gpu clock", "empty", "no statistics", "all off"],
)
def test_a_line_is_read(line: str, reading: Reading) -> None:
    assert parse_tegrastats(line) == reading


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("NV Power Mode: MAXN\n0\n", "MAXN"),
        ("NVPM VERB: Current mode: NV Power Mode: 25W\n1\n", "25W"),
        ("NV Power Mode: MAXN SUPER\n2\n", "MAXN SUPER"),
        ("NVPM ERROR: not permitted\n", None),
        ("", None),
    ],
)
def test_a_power_mode_is_read(text: str, mode: str | None) -> None:
    assert parse_power_mode(text) == mode


def test_without_nvpmodel_there_is_no_power_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_power_mode() is None
    write_program(tmp_path / "nvpmodel", 'echo "NV Power Mode: 15W"; echo 0')
    assert read_power_mode() == "15W"


def write_program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_newest_whole_line_counts_and_none_after_the_program_ended(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = f'echo "{IDLE}"; echo "{ORIN}"; printf "RAM 1/2MB cut"; read line < {gate}'
    program = write_program(tmp_path / "tegrastats", script)
    sensor = TegrastatsSensor(0.1, str(program))
    try:
        assert wait_for(sensor, Reading(46.25, 1728, 624, 2133, 4046))
        gate.write_text("end\n")
        assert wait_for(sensor, Reading())
    finally:
        sensor.close()


def test_the_first_reading_waits_for_the_first_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.sensors.catalogue.SYSFS", tmp_path / "sys")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    write_program(tmp_path / "tegrastats", f'sleep 0.2; echo "{ORIN}"; exec sleep 60')
    assert read_now(gpu=True).power_mw == 4046
    with Watch(gpu=True, interval_s=0.05) as watch:
        pass
    assert {sample.reading.gpu_mhz for sample in watch.samples} == {624} and watch.note is None


def wait_for(sensor: TegrastatsSensor, reading: Reading) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if sensor.read() == reading:
            return True
        time.sleep(0.01)
    return False
