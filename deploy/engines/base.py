"""What every runtime offers: named arrays in, named arrays out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Mapping, NamedTuple

import numpy as np

from deploy.engines.plan import Platform
from deploy.errors import EngineError, InputError

__all__ = ["Engine", "Int8Style", "TensorSpec"]

LFS_POINTER = b"version https://git-lfs"
OTHERS = (  # that people take for a model of the wanted kind: where their mark is, the mark, what they are
    (0, b"PK\x03\x04", "a PyTorch file or an archive"),
    (0, b"\x80\x02", "a PyTorch file"),
    (0, b"ftrt", "a TensorRT plan"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (0, b"\x1f\x8b", "a compressed file"),
    (0, b"{", "JSON"),
    (0, b"<", "XML or a web page"),
)


class TensorSpec(NamedTuple):
    """An input or output: its shape holds None where a dimension is free; dtype is numpy's name ("float32")."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def __str__(self) -> str:
        sides = ", ".join("?" if side is None else str(side) for side in self.shape)
        return f"{self.name!r} [{sides}] {self.dtype}"


class Int8Style(NamedTuple):
    """How INT8 is written for an engine, so that it is taken and runs fast.

    Attributes:
        unsigned: whether features are uint8 with a zero point of their own; else they are int8 around 0.
        biases: whether biases are quantised, to int32. rest: the precision of layers that stay out of INT8.
        lacking: operators of layers that it has no integers for: they stay out.
    """

    unsigned: bool
    biases: bool
    rest: str
    lacking: tuple[str, ...] = ()


class Engine(ABC):
    """A loaded model. Made by `open_engine`, closed by `close` or by leaving a with block.

    A subclass loads its library and the model in `__init__`, sets `inputs`, `outputs`, `runtime` and `threads`, and
    supplies `_run` and `_release`. The checks are here, so every runtime refuses the same things with the same words.

    Attributes:
        runtime: the library, its version and what it runs on, for a measurement's record.
        threads: CPU threads the runtime computes with.
        notes: what a measurement's record is to say besides, as that an engine was built short of memory.
        last_gpu_ms: milliseconds that the GPU worked on the last `infer`, without copies; None if that is not known.
        precisions: that models for it may be in. int8: how INT8 is written for it.
        uses_gpu: whether it computes on a GPU.
        is_reference: whether it computes as an export was checked to, which others only come near to.
        packages: Python modules, of which it needs one; install: how to get it.
        parser: what has to take its models, "tensorrt" or "tensorrt-rtx"; empty where neither reads them.
        name: of the model, in messages.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    runtime: str
    threads: int
    notes: tuple[str, ...] = ()
    last_gpu_ms: float | None = None
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8")
    int8: ClassVar[Int8Style]
    uses_gpu: ClassVar[bool] = False
    is_reference: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]]
    install: ClassVar[str]
    parser: ClassVar[str] = ""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self._closed = False

    @classmethod
    def read_platform(cls, gpu: str | None = None) -> Platform | None:
        """What a plan that this engine executes is bound to; None where it executes ONNX files.

        Args:
            gpu: what it is to be built for ahead of time, as "sm86"; None is the GPU of this machine.

        Raises:
            InputError: nothing can be built for that GPU from here.
            EngineError: its library or its device is missing.
        """
        return None

    @abstractmethod
    def _run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name, in memory of their own. Raises `EngineError`."""

    @abstractmethod
    def _release(self) -> None:
        """Let go of the model and its memory."""

    def infer(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name. They belong to the caller: a later call does not change them.

        Raises:
            InputError: a name, shape or dtype is not what the model wants.
            EngineError: the engine is closed, or the runtime failed.
        """
        if self._closed:
            raise EngineError(f"{self.name} is closed: open the engine again")
        self._check(feeds)
        return self._run(feeds)

    def close(self) -> None:
        """Release the model; closing twice is allowed."""
        if not self._closed:
            self._closed = True
            self._release()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _check(self, feeds: Mapping[str, np.ndarray]) -> None:
        wanted = [spec.name for spec in self.inputs]
        if set(feeds) != set(wanted):
            raise InputError(f"{self.name} wants the inputs {sorted(wanted)}; got {sorted(map(str, feeds))}")
        for spec in self.inputs:
            array = feeds[spec.name]
            if not isinstance(array, np.ndarray):
                raise InputError(f"{self.name} wants {spec} as a numpy array, not {type(array).__name__}")
            fits = len(array.shape) == len(spec.shape) and all(
                side is None or side == size for side, size in zip(spec.shape, array.shape)
            )
            if not fits or array.dtype.name != spec.dtype:
                raise InputError(f"{self.name} wants {spec}; got {list(array.shape)} {array.dtype.name}")


def check_threads(threads: int | None) -> None:
    """An `InputError` for a number of threads that nothing computes with; None leaves it to the engine."""
    if threads is not None and threads < 1:
        raise InputError(f"an engine computes with at least one thread, not {threads}")


def check_model_file(path: str | Path, kind: str) -> Path:
    """The path, if it is a file with something in it that may be of this kind; an `InputError` otherwise."""
    path = Path(path)
    wanted = f"{'an' if kind.startswith('O') else 'a'} {kind}"
    if path.is_dir():
        raise InputError(f"{path} is a folder; {wanted} was wanted")
    if not path.is_file():
        raise InputError(f"there is no {kind} {path}")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; {wanted} was wanted")
    with path.open("rb") as file:
        start = file.read(len(LFS_POINTER))
    if start == LFS_POINTER:
        raise InputError(f"{path} only points to {wanted} in Git LFS: git lfs pull")
    found = next((what for place, mark, what in OTHERS if start[place:].startswith(mark)), None)
    if found is not None and "ONNX" in kind:
        raise InputError(f"{path} is {found}, not {wanted}: export the model as ONNX")
    return path
