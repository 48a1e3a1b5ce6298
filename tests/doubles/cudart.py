"""A look into the double of libcudart that CUDA_HOME names: what a test asks of it, and what TensorRT's double does."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORK = ctypes.CFUNCTYPE(None)
KINDS = ("memory", "streams", "graphs", "events")
_kept: list[Any] = []  # a graph calls what it captured for as long as the process lives


def _library() -> Any:
    library = ctypes.CDLL(str(Path(os.environ["CUDA_HOME"]) / "lib64" / "libcudart.so"))
    library.double_enqueue.argtypes = [ctypes.c_void_p, WORK]
    library.double_knows.argtypes = [ctypes.c_void_p]
    library.double_calls.restype = ctypes.c_char_p
    return library


def enqueue(stream: int, work: Callable[[], None]) -> bool:
    """Put work into a stream, as TensorRT does; False where it cannot be captured."""
    _kept.append(WORK(work))
    return bool(_library().double_enqueue(stream, _kept[-1]))


def knows(pointer: int) -> bool:
    """Whether it is device or pinned memory that is not freed yet."""
    return bool(_library().double_knows(pointer))


def calls() -> list[str]:
    """Copies and launches since `forget_calls`, in their order."""
    return _library().double_calls().decode().split()


def forget_calls() -> None:
    _library().double_forget_calls()


def begin_anew() -> None:
    """As in a fresh process."""
    _library().double_reset()


def count_live() -> dict[str, int]:
    """What was made and not given back."""
    return {kind: _library().double_live(place) for place, kind in enumerate(KINDS)}
