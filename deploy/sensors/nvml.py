"""An NVIDIA GPU, by its driver's management library (NVML) through ctypes. Never executed on a GPU.

Names and numbers: NVML API Reference Guide, "Device Queries", "NvmlClocksEventReasons".
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

from deploy.sensors.base import Reading

__all__ = ["NvmlSensor", "name_reasons"]

LIBRARY = "libnvidia-ml.so.1"
SUCCESS, INSUFFICIENT_SIZE = 0, 7
SM_CLOCK, MEMORY_CLOCK, GPU_TEMPERATURE = 1, 2, 0
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

    Args:
        library: NVML as loaded by ctypes; None loads it.

    Raises:
        OSError: there is no NVML on this machine, or it has no such GPU.
    """

    def __init__(self, library: Any | None = None) -> None:
        self._nvml: Any = library if library is not None else ctypes.CDLL(LIBRARY)
        if self._nvml.nvmlInit_v2() != SUCCESS:
            raise OSError("the NVIDIA driver does not answer NVML")
        self._device = ctypes.c_void_p()
        first = (os.environ.get("CUDA_VISIBLE_DEVICES") or "0").split(",")[0].strip()
        if first.isdigit():
            status = self._nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(first)), ctypes.byref(self._device))
        else:
            status = self._nvml.nvmlDeviceGetHandleByUUID(first.encode(), ctypes.byref(self._device))
        if status != SUCCESS:
            self.close()
            raise OSError(f"NVML has no GPU {first}")

    def read(self) -> Reading:
        """Clocks, temperature, power and its counter; what this GPU does not support is None."""
        return Reading(
            temperature_c=self._ask("nvmlDeviceGetTemperature", ctypes.c_uint, GPU_TEMPERATURE),
            gpu_mhz=self._ask("nvmlDeviceGetClockInfo", ctypes.c_uint, SM_CLOCK),
            memory_mhz=self._ask("nvmlDeviceGetClockInfo", ctypes.c_uint, MEMORY_CLOCK),
            power_mw=self._ask("nvmlDeviceGetPowerUsage", ctypes.c_uint),
            energy_mj=self._ask("nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong),
            throttle=self._read_throttle(),
        )

    def count_processes(self) -> int | None:
        """Processes that compute on the GPU now; None where the driver does not tell."""
        for name in ("_v3", "_v2", ""):
            function = getattr(self._nvml, "nvmlDeviceGetComputeRunningProcesses" + name, None)
            if function is None:
                continue
            count = ctypes.c_uint(0)  # no room for an answer: the driver says how much it would take
            status = function(self._device, ctypes.byref(count), None)
            return count.value if status in (SUCCESS, INSUFFICIENT_SIZE) else None
        return None

    def close(self) -> None:
        self._nvml.nvmlShutdown()

    def _read_throttle(self) -> tuple[str, ...] | None:
        bits = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.c_ulonglong)
        if bits is None:
            bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons", ctypes.c_ulonglong)
        return None if bits is None else name_reasons(int(bits))

    def _ask(self, name: str, kind: Any, *arguments: int) -> float | None:
        function = getattr(self._nvml, name, None)
        if function is None:
            return None
        value = kind()
        status = function(self._device, *(ctypes.c_uint(item) for item in arguments), ctypes.byref(value))
        return float(value.value) if status == SUCCESS else None


def name_reasons(bits: int) -> tuple[str, ...]:
    """Why the clocks are not higher, idling aside; a bit that this release does not know is named by its number."""
    unknown = bits & ~(sum(REASONS) | IDLE)
    names = [name for bit, name in REASONS.items() if bits & bit]
    return tuple(names + ([f"reason 0x{unknown:x}"] if unknown else []))
