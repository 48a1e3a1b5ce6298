"""CUDA by whichever of its libraries is there."""

from __future__ import annotations

from typing import Callable

from deploy.engines.cuda_base import Cuda
from deploy.engines.cuda_pycuda import PyCuda
from deploy.engines.cuda_runtime import BindingsLibrary, RuntimeCuda, SharedLibrary
from deploy.errors import EngineError

__all__ = ["open_cuda"]


def open_cuda() -> Cuda:
    """CUDA by the first library that is there: cuda-python, libcudart, pycuda.

    pycuda is last because it has no graphs; with any of the others a model takes the same time.

    Raises:
        EngineError: none is there, or there is no GPU.
    """
    attempts: tuple[tuple[str, Callable[[], Cuda]], ...] = (
        ("cuda-python", lambda: RuntimeCuda(BindingsLibrary())),
        ("libcudart", lambda: RuntimeCuda(SharedLibrary())),
        ("pycuda", PyCuda),
    )
    missing: list[str] = []
    for name, attempt in attempts:
        try:
            return attempt()
        except (ImportError, OSError) as error:
            missing.append("{} ({})".format(name, " ".join(str(error).split())))
    raise EngineError(
        "CUDA cannot be reached; not there are: {}. On a Jetson libcudart comes with JetPack (sudo apt-get install "
        "nvidia-jetpack), elsewhere: python3 -m pip install cuda-python".format("; ".join(missing))
    )
