"""libcudart, CUDA's runtime API, by ctypes: calls that are the same from CUDA 11.4 to 13."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys
from pathlib import Path
from typing import Any, Iterator

from deploy.errors import EngineError

__all__ = ["DEVICE", "CudaLibrary"]

DEVICE = 0
NO_DEVICE = (35, 100)  # cudaErrorInsufficientDriver, which it is without a driver too; cudaErrorNoDevice


class CudaLibrary:
    """Calls of libcudart by name: arguments in, results out, an `EngineError` for an error code.

    Raises `OSError` where it is not found.

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


def list_candidates() -> Iterator[str]:
    """Where libcudart may be: the toolkit that CUDA_HOME names, what the loader finds, /usr/local, NVIDIA's wheels."""
    named = os.environ.get("CUDA_HOME")
    if named:
        yield from map(str, sorted((Path(named) / "lib64").glob("libcudart.so*")))
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
    raise OSError(f"looked for {', '.join(tried)}")


def _failure(function: str, code: int, name: str) -> EngineError:
    hint = ": there is no NVIDIA GPU, or its driver is too old" if code in NO_DEVICE else ""
    return EngineError(f"{function} failed: {name} ({code}){hint}")
