"""What an engine asks of CUDA: memory, streams, events, graphs. The first GPU that the process sees, no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from deploy.engines.cuda_graphs import CudaGraphs

__all__ = ["Cuda", "CudaDevice"]


@dataclass(frozen=True)
class CudaDevice:
    """A GPU.

    Attributes:
        compute_capability: "8.7".
        integrated: whether its memory is the system's, as on a Jetson.
        cuda: the version of CUDA that the library in use is of, "12.6".
    """

    name: str
    compute_capability: str
    integrated: bool
    cuda: str


class Cuda(ABC):
    """One way to reach CUDA. Pointers are whole numbers; streams and events are whatever the library makes.

    A call that fails is an `EngineError` with the call's name and CUDA's word for what is wrong. An object is used in
    the thread that made it.

    Attributes:
        library: what is in use, with its version, for a measurement's record.
        graphs: work captured once and launched as a whole; None where this way to CUDA has none.
    """

    library: str
    graphs: CudaGraphs | None

    @abstractmethod
    def read_device(self) -> CudaDevice: ...

    @abstractmethod
    def read_memory(self) -> tuple[int, int]:
        """Bytes free and in all, of the device."""

    @abstractmethod
    def allocate(self, size: int) -> int:
        """Device memory of ``size`` bytes (at least one)."""

    @abstractmethod
    def free(self, pointer: int) -> None: ...

    @abstractmethod
    def allocate_pinned(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """An array in host memory that the device copies from and to without a detour; valid until `free_pinned`."""

    @abstractmethod
    def free_pinned(self, array: np.ndarray) -> None: ...

    @abstractmethod
    def create_stream(self) -> Any: ...

    @abstractmethod
    def destroy_stream(self, stream: Any) -> None: ...

    @abstractmethod
    def handle_of(self, stream: Any) -> int:
        """The stream as other libraries take it."""

    @abstractmethod
    def synchronize(self, stream: Any) -> None:
        """Wait until everything in the stream is done."""

    @abstractmethod
    def copy_to_device(self, pointer: int, array: np.ndarray, stream: Any) -> None: ...

    @abstractmethod
    def copy_to_host(self, array: np.ndarray, pointer: int, stream: Any) -> None: ...

    @abstractmethod
    def create_event(self) -> Any: ...

    @abstractmethod
    def destroy_event(self, event: Any) -> None: ...

    @abstractmethod
    def record(self, event: Any, stream: Any) -> None: ...

    @abstractmethod
    def elapsed_ms(self, start: Any, stop: Any) -> float:
        """Milliseconds between two events that have happened."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the device."""
