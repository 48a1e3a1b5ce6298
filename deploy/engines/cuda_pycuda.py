"""CUDA by pycuda: its driver API, on the device's primary context."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator

import numpy as np

from deploy.engines.cuda_base import Cuda, CudaDevice
from deploy.engines.cuda_graphs import CudaGraphs
from deploy.engines.cuda_library import CudaLibrary
from deploy.errors import EngineError

__all__ = ["PyCuda"]


class PyCuda(Cuda):
    """`Cuda` by pycuda. It has no CUDA graphs itself (2026.1), and takes those of libcudart where that is found.

    Raises:
        ImportError: pycuda is not installed.
    """

    def __init__(self) -> None:
        import pycuda
        from pycuda import driver

        self._driver: Any = driver
        self._arrays: Any = {}
        self._allocations: Any = {}
        with self._naming("init"):
            driver.init()
            self._device: Any = driver.Device(0)
            self._context: Any = self._device.retain_primary_context()  # TensorRT's own; another would be a second one
            self._context.push()
        self.library = f"pycuda {pycuda.VERSION_TEXT}"
        self.graphs = _find_graphs()

    def read_device(self) -> CudaDevice:
        with self._naming("Device"):
            attributes = self._driver.device_attribute
            integrated = self._device.get_attribute(attributes.INTEGRATED)
            capability = "{}.{}".format(*self._device.compute_capability())
            version = "{}.{}".format(*self._driver.get_version()[:2])
            return CudaDevice(self._device.name(), capability, bool(integrated), version)

    def read_memory(self) -> tuple[int, int]:
        with self._naming("mem_get_info"):
            free, total = self._driver.mem_get_info()
            return free, total

    def allocate(self, size: int) -> int:
        with self._naming("mem_alloc"):
            allocation = self._driver.mem_alloc(max(1, size))
        self._allocations[int(allocation)] = allocation  # freed with its object
        return int(allocation)

    def free(self, pointer: int) -> None:
        with self._naming("DeviceAllocation.free"):
            self._allocations.pop(pointer).free()

    def allocate_pinned(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        with self._naming("pagelocked_empty"):
            whole = self._driver.pagelocked_empty(max(1, int(np.prod(shape, dtype=np.int64))), np.dtype(dtype))
        self._arrays[whole.ctypes.data] = whole
        view: np.ndarray = whole[: int(np.prod(shape, dtype=np.int64))].reshape(shape)
        return view

    def free_pinned(self, array: np.ndarray) -> None:
        with self._naming("PagelockedHostAllocation.free"):
            self._arrays.pop(array.ctypes.data).base.free()

    def create_stream(self) -> Any:
        with self._naming("Stream"):
            return self._driver.Stream()

    def destroy_stream(self, stream: Any) -> None:
        """It goes with its object."""

    def handle_of(self, stream: Any) -> int:
        return int(stream.handle)

    def synchronize(self, stream: Any) -> None:
        with self._naming("Stream.synchronize"):
            stream.synchronize()

    def copy_to_device(self, pointer: int, array: np.ndarray, stream: Any) -> None:
        with self._naming("memcpy_htod_async"):
            self._driver.memcpy_htod_async(pointer, array, stream)

    def copy_to_host(self, array: np.ndarray, pointer: int, stream: Any) -> None:
        with self._naming("memcpy_dtoh_async"):
            self._driver.memcpy_dtoh_async(array, pointer, stream)

    def create_event(self) -> Any:
        with self._naming("Event"):
            return self._driver.Event()

    def destroy_event(self, event: Any) -> None:
        """It goes with its object."""

    def record(self, event: Any, stream: Any) -> None:
        with self._naming("Event.record"):
            event.record(stream)

    def elapsed_ms(self, start: Any, stop: Any) -> float:
        with self._naming("Event.time_since"):
            return float(stop.time_since(start))

    def close(self) -> None:
        with self._naming("Context.pop"):
            self._context.pop()
            self._context.detach()

    @contextmanager
    def _naming(self, call: str) -> Iterator[None]:
        """pycuda's errors as ours, with the call's name."""
        try:
            yield
        except self._driver.Error as error:
            raise EngineError(f"{call} of pycuda failed: {error}") from error


def _find_graphs() -> CudaGraphs | None:
    try:
        return CudaGraphs(CudaLibrary())
    except OSError:
        return None
