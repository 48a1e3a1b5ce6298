"""An NVIDIA GPU, by its driver's management library (NVML) through NVIDIA's package nvidia-ml-py.

Names and numbers of reasons: NVML API Reference Guide, "NvmlClocksEventReasons".
"""

from __future__ import annotations

import os
from typing import Any

from deploy.sensors.base import Reading

__all__ = ["INSTALL", "NvmlSensor", "find_nvml", "name_reasons"]

INSTALL = "python3 -m pip install nvidia-ml-py"
IDLE = 0x1  # the one reason that is no limit
REASONS: dict[int, str] = {
    0x2: "application clocks",
    0x4: "sw power cap",
    0x8: "hw slowdown",
    0x10: "sync boost",
    0x20: "sw thermal slowdown",
    0x40: "hw thermal slowdown",
    0x80: "hw power brake",
    0x100: "display clocks",
}


class NvmlSensor:
    """The GPU that CUDA calls its first: the first of CUDA_VISIBLE_DEVICES, else number 0.

    Raises:
        OSError: nvidia-ml-py is not installed, there is no driver, or it has no such GPU.
    """

    def __init__(self) -> None:
        self._nvml: Any = find_nvml()
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            raise OSError(f"the NVIDIA driver does not answer NVML: {error}") from error
        first = (os.environ.get("CUDA_VISIBLE_DEVICES") or "0").split(",")[0].strip()
        try:
            if first.isdigit():
                self._device = self._nvml.nvmlDeviceGetHandleByIndex(int(first))
            else:
                self._device = self._nvml.nvmlDeviceGetHandleByUUID(first)
        except self._nvml.NVMLError as error:
            self.close()
            raise OSError(f"NVML has no GPU {first}: {error}") from error

    def read(self) -> Reading:
        """Clocks, temperature, power and its counter; what this GPU does not support is None."""
        return Reading(
            temperature_c=self._ask("nvmlDeviceGetTemperature", self._nvml.NVML_TEMPERATURE_GPU),
            gpu_mhz=self._ask("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM),
            memory_mhz=self._ask("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_MEM),
            power_mw=self._ask("nvmlDeviceGetPowerUsage"),
            energy_mj=self._ask("nvmlDeviceGetTotalEnergyConsumption"),
            throttle=self._read_throttle(),
        )

    def read_used_bytes(self) -> int | None:
        """Memory of the GPU that is in use now, by all processes; None where the driver does not tell."""
        try:
            return int(self._nvml.nvmlDeviceGetMemoryInfo(self._device).used)
        except self._nvml.NVMLError:
            return None

    def count_processes(self) -> int | None:
        """Processes that compute on the GPU now; None where the driver does not tell."""
        try:
            return len(self._nvml.nvmlDeviceGetComputeRunningProcesses(self._device))
        except self._nvml.NVMLError:
            return None

    def close(self) -> None:
        self._nvml.nvmlShutdown()

    def _read_throttle(self) -> tuple[str, ...] | None:
        bits = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        if bits is None:
            bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons")  # its name in newer drivers
        return None if bits is None else name_reasons(int(bits))

    def _ask(self, name: str, *arguments: int) -> float | None:
        function = getattr(self._nvml, name, None)  # releases of the package differ
        if function is None:
            return None
        try:
            return float(function(self._device, *arguments))
        except self._nvml.NVMLError:
            return None


def find_nvml() -> Any:
    """The module of nvidia-ml-py; an `OSError` says how to install it where it is not there."""
    try:
        import pynvml
    except ImportError as error:
        raise OSError(f"nvidia-ml-py is not installed: {INSTALL}") from error
    return pynvml


def name_reasons(bits: int) -> tuple[str, ...]:
    """Why the clocks are not higher, idling aside; a bit that this release does not know is named by its number."""
    unknown = bits & ~(sum(REASONS) | IDLE)
    names = [name for bit, name in REASONS.items() if bits & bit]
    return tuple(names + ([f"reason 0x{unknown:x}"] if unknown else []))
