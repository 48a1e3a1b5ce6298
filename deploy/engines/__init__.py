"""Runtimes that execute a model. A library is loaded when an engine is opened, not before."""

from __future__ import annotations

from pathlib import Path

from deploy.engines.base import Engine, TensorSpec
from deploy.engines.ort import OrtEngine
from deploy.engines.ort_cuda import OrtCudaEngine
from deploy.engines.trt import TrtEngine
from deploy.errors import InputError

__all__ = ["ENGINES", "Engine", "TensorSpec", "open_engine"]

ENGINES: dict[str, type[OrtEngine] | type[TrtEngine]] = {
    "ort": OrtEngine,
    "ort-cuda": OrtCudaEngine,
    "trt": TrtEngine,
}


def open_engine(path: str | Path, threads: int | None = None, engine: str = "ort", level: int | None = None) -> Engine:
    """A loaded model, ready to `infer`; use it in a with block, or close it.

    The engine is named, not read off the file's ending: stored models are named by their content. ``level`` is the
    effort of an engine that has a builder, exactly; None takes the best there is.
    """
    if engine not in ENGINES:
        raise InputError("unknown engine {!r}; there are: {}".format(engine, ", ".join(sorted(ENGINES))))
    return ENGINES[engine](path, threads, level)
