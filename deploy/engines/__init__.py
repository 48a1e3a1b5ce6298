"""Runtimes that execute a model. A library is loaded when an engine is opened, not before."""

from __future__ import annotations

from pathlib import Path

from deploy.engines.base import Engine, TensorSpec
from deploy.engines.ort import OrtEngine
from deploy.engines.ort_cuda import OrtCudaEngine
from deploy.engines.trt import TrtEngine
from deploy.engines.trt_rtx import TrtRtxEngine
from deploy.errors import InputError

__all__ = ["ENGINES", "Engine", "TensorSpec", "get_engine", "open_engine"]

ENGINES: dict[str, type[OrtEngine] | type[TrtEngine]] = {
    "ort": OrtEngine,
    "ort-cuda": OrtCudaEngine,
    "trt": TrtEngine,
    "trt-rtx": TrtRtxEngine,
}


def open_engine(path: str | Path, threads: int | None = None, engine: str = "ort", spins: bool = True) -> Engine:
    """A loaded model, ready to `infer`; use it in a with block, or close it. Nothing is built here.

    The engine is named, not read off the file's ending: stored models are named by their content.

    Args:
        path: what the engine executes: an ONNX file, or a plan. `deploy.builders.prepare_model` gives it, of a model.
        spins: as of `OrtEngine`; False where nothing is timed. Other engines have no threads that could.
    """
    kind = get_engine(engine)
    if not spins and issubclass(kind, OrtEngine):
        return kind(path, threads, spins=False)
    return kind(path, threads)


def get_engine(name: str) -> type[OrtEngine] | type[TrtEngine]:
    """An engine of the catalogue; an `InputError` lists what there is."""
    if name not in ENGINES:
        raise InputError(f"unknown engine {name!r}; there are: {', '.join(sorted(ENGINES))}")
    return ENGINES[name]
