"""A double of cuda-python's runtime API, on host memory: what the engine calls, checked as strictly as CUDA does.

`CUDA_DOUBLE` (JSON) says what it pretends: "device", "capability", "capture" (false: captures fail).
"""

from __future__ import annotations

import ctypes
import enum
import json
import os
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorSetOnActiveProcess = 36
    cudaErrorStreamCaptureInvalidated = 901


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


class cudaDeviceAttr(enum.IntEnum):
    cudaDevAttrIntegrated = 18
    cudaDevAttrComputeCapabilityMajor = 75
    cudaDevAttrComputeCapabilityMinor = 76


SUCCESS = (cudaError_t.cudaSuccess,)
INVALID = (cudaError_t.cudaErrorInvalidValue, None)
MEMORY: dict[int, Any] = {}  # device and pinned memory that is not freed yet
EVENTS: dict[int, float] = {}
STREAMS: dict[int, list[Callable[[], None]] | None] = {}  # the work captured so far; None where nothing is captured
GRAPHS: dict[int, list[Callable[[], None]]] = {}
CALLS: list[str] = []
_count = iter(range(1, 1 << 30))


def options() -> dict[str, Any]:
    return json.loads(os.environ.get("CUDA_DOUBLE", "{}"))


def enqueue(stream: int, work: Callable[[], None]) -> bool:
    """Put work into a stream, as TensorRT does; False where it cannot be captured."""
    captured = STREAMS[stream]
    if captured is None:
        work()
    elif not options().get("capture", True):
        return False
    else:
        captured.append(work)
    return True


def cudaSetDeviceFlags(flags: int) -> tuple[Any, ...]:
    CALLS.append("cudaSetDeviceFlags")
    is_refused = options().get("version", 12060) < 12000 and CALLS.count("cudaSetDeviceFlags") > 1
    return (cudaError_t.cudaErrorSetOnActiveProcess,) if is_refused else SUCCESS


def cudaRuntimeGetVersion() -> tuple[Any, ...]:
    return (*SUCCESS, options().get("version", 12060))


def cudaDeviceGetAttribute(attr: cudaDeviceAttr, device: int) -> tuple[Any, ...]:
    major, minor = options().get("capability", [8, 7])
    return (*SUCCESS, {18: 1, 75: major, 76: minor}[attr.value])


def cudaGetDeviceProperties(device: int) -> tuple[Any, ...]:
    return (*SUCCESS, SimpleNamespace(name=options().get("device", "Orin").encode() + b"\0\0"))


def cudaMemGetInfo() -> tuple[Any, ...]:
    return (*SUCCESS, 2 << 30, 8 << 30)


def cudaMalloc(size: int) -> tuple[Any, ...]:
    buffer = (ctypes.c_ubyte * size)()
    MEMORY[ctypes.addressof(buffer)] = buffer
    return (*SUCCESS, ctypes.addressof(buffer))


def cudaHostAlloc(size: int, flags: int) -> tuple[Any, ...]:
    return cudaMalloc(size)


def cudaFree(pointer: int) -> tuple[Any, ...]:
    return SUCCESS if MEMORY.pop(pointer, None) is not None else INVALID[:1]


cudaFreeHost = cudaFree


def cudaMemcpyAsync(dst: int, src: int, count: int, kind: cudaMemcpyKind, stream: int) -> tuple[Any, ...]:
    CALLS.append(kind.name)
    if dst not in MEMORY or src not in MEMORY or count > min(len(MEMORY[dst]), len(MEMORY[src])):
        return INVALID[:1]  # not pinned, not the device's, or too long
    enqueue(stream, lambda: ctypes.memmove(dst, src, count) and None)
    return SUCCESS


def cudaStreamCreateWithFlags(flags: int) -> tuple[Any, ...]:
    STREAMS[handle := next(_count)] = None
    return (*SUCCESS, handle)


def cudaStreamDestroy(stream: int) -> tuple[Any, ...]:
    del STREAMS[stream]
    return SUCCESS


def cudaStreamSynchronize(stream: int) -> tuple[Any, ...]:
    return SUCCESS if STREAMS[stream] is None else INVALID[:1]


def cudaStreamBeginCapture(stream: int, mode: cudaStreamCaptureMode) -> tuple[Any, ...]:
    STREAMS[stream] = []
    return SUCCESS


def cudaStreamEndCapture(stream: int) -> tuple[Any, ...]:
    work, STREAMS[stream] = STREAMS[stream], None
    if not options().get("capture", True):
        return (cudaError_t.cudaErrorStreamCaptureInvalidated, None)
    assert work is not None
    GRAPHS[graph := next(_count)] = work
    return (*SUCCESS, graph)


def cudaGraphInstantiateWithFlags(graph: int, flags: int) -> tuple[Any, ...]:
    GRAPHS[made := next(_count)] = list(GRAPHS[graph])
    return (*SUCCESS, made)


def cudaGraphLaunch(graph: int, stream: int) -> tuple[Any, ...]:
    CALLS.append("cudaGraphLaunch")
    for work in GRAPHS[graph]:
        enqueue(stream, work)
    return SUCCESS


def cudaGraphDestroy(graph: int) -> tuple[Any, ...]:
    del GRAPHS[graph]
    return SUCCESS


cudaGraphExecDestroy = cudaGraphDestroy


def cudaEventCreateWithFlags(flags: int) -> tuple[Any, ...]:
    EVENTS[handle := next(_count)] = -1.0
    return (*SUCCESS, handle)


def cudaEventDestroy(event: int) -> tuple[Any, ...]:
    del EVENTS[event]
    return SUCCESS


def cudaEventRecord(event: int, stream: int) -> tuple[Any, ...]:
    EVENTS[event] = time.perf_counter()
    return SUCCESS


def cudaEventElapsedTime(start: int, end: int) -> tuple[Any, ...]:
    return (*SUCCESS, (EVENTS[end] - EVENTS[start]) * 1e3)


def cudaGetLastError() -> tuple[Any, ...]:
    return SUCCESS
