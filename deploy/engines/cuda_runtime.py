"""CUDA by libcudart alone, as on boards without pycuda."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from deploy.engines.cuda_base import Cuda, CudaDevice
from deploy.engines.cuda_graphs import CudaGraphs
from deploy.engines.cuda_library import DEVICE, CudaLibrary
from deploy.errors import EngineError

__all__ = ["RuntimeCuda"]

# From CUDA's headers; none has changed from 11.4 to 13.
TO_DEVICE, TO_HOST = 1, 2  # cudaMemcpyKind
NON_BLOCKING = 1  # cudaStreamNonBlocking
SPIN = 1  # cudaDeviceScheduleSpin
INTEGRATED, MAJOR, MINOR = 18, 75, 76  # cudaDeviceAttr
ALREADY_ACTIVE = "cudaErrorSetOnActiveProcess"


class RuntimeCuda(Cuda):
    """`Cuda` by libcudart. A waiting thread spins, which is what measures best and what a Jetson does not do.

    Raises:
        OSError: libcudart is not found.
    """

    def __init__(self) -> None:
        library = CudaLibrary()
        self._call = library.call
        try:
            self._call("cudaSetDeviceFlags", SPIN)
        except EngineError as error:
            if ALREADY_ACTIVE not in str(error):  # releases before 12 refuse what another engine here has set already
                raise
        version = self._call("cudaRuntimeGetVersion")
        self._version = f"{version // 1000}.{version % 1000 // 10}"
        self._read_name = library.read_name
        self.library = f"libcudart {self._version}"
        self.graphs = CudaGraphs(library)

    def read_device(self) -> CudaDevice:
        major, minor, integrated = (
            self._call("cudaDeviceGetAttribute", attribute, DEVICE) for attribute in (MAJOR, MINOR, INTEGRATED)
        )
        return CudaDevice(self._read_name(), f"{major}.{minor}", bool(integrated), self._version)

    def read_memory(self) -> tuple[int, int]:
        free, total = self._call("cudaMemGetInfo")
        return free, total

    def allocate(self, size: int) -> int:
        return int(self._call("cudaMalloc", max(1, size)))

    def free(self, pointer: int) -> None:
        self._call("cudaFree", pointer)

    def allocate_pinned(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        count = int(np.prod(shape, dtype=np.int64))
        size = max(1, count * np.dtype(dtype).itemsize)
        memory: Any = (ctypes.c_ubyte * size).from_address(int(self._call("cudaHostAlloc", size, 0)))
        array: np.ndarray = np.frombuffer(memory, np.dtype(dtype), count).reshape(shape)
        return array

    def free_pinned(self, array: np.ndarray) -> None:
        self._call("cudaFreeHost", array.ctypes.data)

    def create_stream(self) -> Any:
        return self._call("cudaStreamCreateWithFlags", NON_BLOCKING)

    def destroy_stream(self, stream: Any) -> None:
        self._call("cudaStreamDestroy", stream)

    def handle_of(self, stream: Any) -> int:
        return int(stream)

    def synchronize(self, stream: Any) -> None:
        self._call("cudaStreamSynchronize", stream)

    def copy_to_device(self, pointer: int, array: np.ndarray, stream: Any) -> None:
        self._call("cudaMemcpyAsync", pointer, array.ctypes.data, array.nbytes, TO_DEVICE, stream)

    def copy_to_host(self, array: np.ndarray, pointer: int, stream: Any) -> None:
        self._call("cudaMemcpyAsync", array.ctypes.data, pointer, array.nbytes, TO_HOST, stream)

    def create_event(self) -> Any:
        return self._call("cudaEventCreateWithFlags", 0)

    def destroy_event(self, event: Any) -> None:
        self._call("cudaEventDestroy", event)

    def record(self, event: Any, stream: Any) -> None:
        self._call("cudaEventRecord", event, stream)

    def elapsed_ms(self, start: Any, stop: Any) -> float:
        return float(self._call("cudaEventElapsedTime", start, stop))

    def close(self) -> None:
        """Nothing to do: the device is the process's."""
