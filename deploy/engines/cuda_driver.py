"""The first CUDA device, by NVIDIA's driver alone."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from deploy.errors import EngineError

__all__ = ["CudaDevice", "find_cuda_device"]

DRIVER = "libcuda.so.1"


class CudaDevice(NamedTuple):
    """A GPU's name, and how many the machine has in all."""

    name: str
    gpus: int


def find_cuda_device() -> CudaDevice:
    """The device that comes first. Raises `EngineError`: no driver, or one that sees no GPU."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError as error:
        raise EngineError(f"no driver ({DRIVER})") from error
    name, device, count = ctypes.create_string_buffer(256), ctypes.c_int(), ctypes.c_int()
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if not code and count.value:
        code = driver.cuDeviceGet(ctypes.byref(device), 0) or driver.cuDeviceGetName(name, 256, device)
        if not code:
            return CudaDevice(name.value.decode(errors="replace"), count.value)
    raise EngineError(f"the driver sees none (error {code})")
