"""Every call by nvidia-ml-py, into a C library with NVML's signatures; a GPU itself is not needed, nor claimed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deploy.sensors import Watch
from deploy.sensors.base import REJECTING
from deploy.sensors.catalogue import count_gpu_processes, open_sensors
from deploy.sensors.nvml import REASONS, NvmlSensor, name_reasons
from deploy.targets.examine import examine_machine


@pytest.mark.parametrize(
    ("bits", "names"),
    [
        (0x0, ()),
        (0x1, ()),
        (0x4, ("sw power cap",)),
        (0x48, ("hw slowdown", "hw thermal slowdown")),
        (0x80, ("hw power brake",)),
        (0x1001, ("reason 0x1000",)),
    ],
)
def test_reasons_have_names_and_idling_is_none(bits: int, names: tuple[str, ...]) -> None:
    assert name_reasons(bits) == names


def test_what_rejects_a_lease_are_names_that_exist() -> None:
    assert set(REJECTING) - {"over-current"} <= set(REASONS.values())


def test_a_gpu_is_read(fake_nvml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_REASONS", "0x4")
    sensor = NvmlSensor()
    first, second = sensor.read(), sensor.read()
    sensor.close()
    assert (first.temperature_c, first.gpu_mhz, first.memory_mhz, first.power_mw) == (61, 1410, 5001, 5000)
    assert first.throttle == ("sw power cap",) and first.cpu_mhz is None
    assert first.energy_mj is not None and second.energy_mj is not None and second.energy_mj >= first.energy_mj > 0


def test_what_a_gpu_does_not_support_is_none(fake_nvml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_NO_COUNTER", "1")
    assert NvmlSensor().read().energy_mj is None


def test_other_processes_are_counted(fake_nvml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_gpu_processes() == 0
    monkeypatch.setenv("FAKE_PROCESSES", "2")
    assert count_gpu_processes() == 2


def test_the_gpu_is_the_one_that_cuda_sees(fake_nvml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    with pytest.raises(OSError, match="no GPU 3"):
        NvmlSensor()
    monkeypatch.setenv("FAKE_INDEX", "3")
    assert NvmlSensor().read().gpu_mhz == 1410


def test_without_a_driver_there_is_no_sensor_and_no_count(fake_nvml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("pynvml.nvmlLib", None)
    monkeypatch.setattr("pynvml.CDLL", load)
    assert count_gpu_processes() is None
    assert not any(isinstance(sensor, NvmlSensor) for sensor in open_sensors(gpu=True, interval_s=0.1))
    with pytest.raises(OSError, match=r"does not answer NVML: .*Library Not Found"):
        NvmlSensor()


def test_without_the_package_it_is_said_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr("deploy.sensors.catalogue.SYSFS", tmp_path)
    assert count_gpu_processes() is None
    with Watch(gpu=True, interval_s=0.1) as watch:
        assert watch.note is not None and "nvidia-ml-py is not installed: python3 -m pip install" in watch.note
    with Watch(gpu=False, interval_s=0.1) as watch:
        assert watch.note is None
    (condition,) = [item for item in examine_machine("ort-cuda", 1, tmp_path) if item.what == "GPU sensors"]
    assert condition.state == "note" and "nvidia-ml-py" in condition.found


def test_a_measurement_on_a_cpu_does_not_ask_the_gpu(fake_nvml: Path) -> None:
    assert not any(isinstance(sensor, NvmlSensor) for sensor in open_sensors(gpu=False, interval_s=0.1))
