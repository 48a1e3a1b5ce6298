"""CUDA's runtime API, by cuda-python or by ctypes: the same calls of the same names, present from CUDA 11.4 to 13."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Iterator, Protocol

import numpy as np

from deploy.engines.cuda_base import Cuda, CudaDevice
from deploy.errors import EngineError

__all__ = ["BindingsLibrary", "RuntimeCuda", "SharedLibrary"]

# From CUDA's headers; none has changed from 11.4 to 13.
TO_DEVICE, TO_HOST = 1, 2  # cudaMemcpyKind
THREAD_LOCAL = 1  # cudaStreamCaptureMode
NON_BLOCKING = 1  # cudaStreamNonBlocking
SPIN = 1  # cudaDeviceScheduleSpin
INTEGRATED, MAJOR, MINOR = 18, 75, 76  # cudaDeviceAttr
DEVICE = 0
ALREADY_ACTIVE = "cudaErrorSetOnActiveProcess"
NO_DEVICE = (35, 100)  # cudaErrorInsufficientDriver, which it is without a driver too; cudaErrorNoDevice


class Library(Protocol):
    """Calls of CUDA's runtime by name: arguments in, values out, an `EngineError` for an error code."""

    name: str

    def call(self, function: str, *arguments: Any) -> Any: ...

    def read_name(self) -> str: ...


class BindingsLibrary:
    """`cuda.bindings.runtime`, or `cuda.cudart` of releases before 12.6. Raises `ImportError` where neither is."""

    ENUMS = {
        "cudaMemcpyAsync": (3, "cudaMemcpyKind"),
        "cudaStreamBeginCapture": (1, "cudaStreamCaptureMode"),
        "cudaDeviceGetAttribute": (0, "cudaDeviceAttr"),
    }

    def __init__(self) -> None:
        try:
            from cuda.bindings import runtime
        except ImportError:
            from cuda import cudart as runtime
        self._runtime: Any = runtime
        self.name = "cuda-python"

    def call(self, function: str, *arguments: Any) -> Any:
        values = list(arguments)
        if function in self.ENUMS:
            place, enum = self.ENUMS[function]
            values[place] = getattr(self._runtime, enum)(values[place])
        code, *results = getattr(self._runtime, function)(*values)
        if int(code):
            raise _failure(function, int(code), code.name)
        return results[0] if len(results) == 1 else tuple(results)

    def read_name(self) -> str:
        name: bytes = self.call("cudaGetDeviceProperties", DEVICE).name
        return name.split(b"\0")[0].decode()


class SharedLibrary:
    """`libcudart`, by ctypes. Raises `OSError` where it is not found.

    A signature has a letter for each parameter: p pointer or handle, z size, i int, u unsigned int, l unsigned long
    long, f float; a capital is a result, which C writes through a pointer.
    """

    TYPES: dict[str, Any] = {
        "p": ctypes.c_void_p,
        "z": ctypes.c_size_t,
        "i": ctypes.c_int,
        "u": ctypes.c_uint,
        "l": ctypes.c_ulonglong,
        "f": ctypes.c_float,
    }
    SIGNATURES = {
        "cudaSetDeviceFlags": "u",
        "cudaRuntimeGetVersion": "I",
        "cudaDeviceGetAttribute": "Iii",
        "cudaMemGetInfo": "ZZ",
        "cudaMalloc": "Pz",
        "cudaFree": "p",
        "cudaHostAlloc": "Pzu",
        "cudaFreeHost": "p",
        "cudaMemcpyAsync": "ppzip",
        "cudaStreamCreateWithFlags": "Pu",
        "cudaStreamDestroy": "p",
        "cudaStreamSynchronize": "p",
        "cudaStreamBeginCapture": "pi",
        "cudaStreamEndCapture": "pP",
        "cudaGraphInstantiateWithFlags": "Ppl",
        "cudaGraphLaunch": "pp",
        "cudaGraphDestroy": "p",
        "cudaGraphExecDestroy": "p",
        "cudaEventCreateWithFlags": "Pu",
        "cudaEventDestroy": "p",
        "cudaEventRecord": "pp",
        "cudaEventElapsedTime": "Fpp",
        "cudaGetLastError": "",
    }
    PROPERTIES_BYTES = 1 << 14  # more than cudaDeviceProp of any release; its first member is the name

    def __init__(self) -> None:
        self._library = _load_first(list_candidates())
        self._library.cudaGetErrorName.argtypes = [ctypes.c_int]
        self._library.cudaGetErrorName.restype = ctypes.c_char_p
        for function, signature in self.SIGNATURES.items():
            getattr(self._library, function).argtypes = [self._type_of(letter) for letter in signature]
        self.name = "libcudart"

    def call(self, function: str, *arguments: Any) -> Any:
        given = iter(arguments)
        values, results = [], []
        for letter in self.SIGNATURES[function]:
            if letter.isupper():
                results.append(self.TYPES[letter.lower()]())
                values.append(ctypes.byref(results[-1]))
            else:
                values.append(next(given))
        self._check(function, getattr(self._library, function)(*values))
        found = tuple(result.value for result in results)
        return found[0] if len(found) == 1 else found

    def read_name(self) -> str:
        properties = ctypes.create_string_buffer(self.PROPERTIES_BYTES)
        self._check("cudaGetDeviceProperties", self._library.cudaGetDeviceProperties(properties, DEVICE))
        return properties.value.decode()

    def _check(self, function: str, code: int) -> None:
        if code:
            raise _failure(function, code, self._library.cudaGetErrorName(code).decode())

    def _type_of(self, letter: str) -> Any:
        kind = self.TYPES[letter.lower()]
        return ctypes.POINTER(kind) if letter.isupper() else kind


class RuntimeCuda(Cuda):
    """`Cuda` by the runtime API. A waiting thread spins, which is what measures best and what a Jetson does not do."""

    def __init__(self, library: Library) -> None:
        self._call = library.call
        try:
            self._call("cudaSetDeviceFlags", SPIN)
        except EngineError as error:
            if ALREADY_ACTIVE not in str(error):  # releases before 12 refuse what another engine here has set already
                raise
        version = self._call("cudaRuntimeGetVersion")
        self._version = f"{version // 1000}.{version % 1000 // 10}"
        self._read_name = library.read_name
        self.library = f"{library.name} {self._version}"

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

    def capture(self, stream: Any, work: Callable[[], None]) -> Any:
        self._call("cudaStreamBeginCapture", stream, THREAD_LOCAL)
        try:
            work()
        except EngineError:
            self._give_up_capture(stream)
            raise
        try:
            graph = self._call("cudaStreamEndCapture", stream)
            try:
                return self._call("cudaGraphInstantiateWithFlags", graph, 0)
            finally:
                self._call("cudaGraphDestroy", graph)
        except EngineError:
            self._forget_error()
            raise

    def launch(self, graph: Any, stream: Any) -> None:
        self._call("cudaGraphLaunch", graph, stream)

    def destroy_graph(self, graph: Any) -> None:
        self._call("cudaGraphExecDestroy", graph)

    def _give_up_capture(self, stream: Any) -> None:
        try:
            self._call("cudaGraphDestroy", self._call("cudaStreamEndCapture", stream))
        except EngineError:  # the capture was invalid already, and has ended with this call
            self._forget_error()

    def _forget_error(self) -> None:
        """Take back the code that CUDA keeps for whoever asks for the last error, as TensorRT does."""
        with suppress(EngineError):
            self._call("cudaGetLastError")

    def close(self) -> None:
        """Nothing to do: the device is the process's."""


def list_candidates() -> Iterator[str]:
    """Where libcudart may be: what the loader finds, the toolkit's folder, the wheels of NVIDIA."""
    found = ctypes.util.find_library("cudart")
    if found:
        yield found
    for major in ("13", "12", "11.0"):
        yield "libcudart.so." + major
    folders = [Path("/usr/local/cuda/lib64")]
    for entry in sys.path:
        folders += [Path(entry) / "nvidia" / place / "lib" for place in ("cu13", "cuda_runtime")]
    for folder in folders:
        for path in sorted(folder.glob("libcudart.so*")):
            yield str(path)


def _load_first(candidates: Iterator[str]) -> Any:
    tried: list[str] = []
    for name in candidates:
        try:
            return ctypes.CDLL(name)
        except OSError:
            tried.append(name)
    raise OSError("looked for {}".format(", ".join(tried)))


def _failure(function: str, code: int, name: str) -> EngineError:
    hint = ": there is no NVIDIA GPU, or its driver is too old" if code in NO_DEVICE else ""
    return EngineError(f"{function} failed: {name} ({code}){hint}")
