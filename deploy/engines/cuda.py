"""The way to CUDA that is there: pycuda, else libcudart."""

from __future__ import annotations

from typing import Callable

from deploy.engines.cuda_base import Cuda
from deploy.engines.cuda_pycuda import PyCuda
from deploy.engines.cuda_runtime import RuntimeCuda
from deploy.errors import EngineError

__all__ = ["open_cuda"]

LIBRARIES: dict[str, Callable[[], Cuda]] = {"pycuda": PyCuda, "libcudart": RuntimeCuda}


def open_cuda() -> Cuda:
    """CUDA by the first library that is there.

    Raises:
        EngineError: none is there, or there is no GPU.
    """
    missing: list[str] = []
    for name, attempt in LIBRARIES.items():
        try:
            return attempt()
        except (ImportError, OSError) as error:
            missing.append(f"{name} ({' '.join(str(error).split())})")
    raise EngineError(
        f"CUDA cannot be reached; not found: {'; '.join(missing)}. On a Jetson libcudart comes with JetPack (sudo "
        "apt-get install nvidia-jetpack); elsewhere: python3 -m pip install nvidia-cuda-runtime"
    )
