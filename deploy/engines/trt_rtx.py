"""TensorRT for RTX on an NVIDIA RTX GPU: a plan built ahead of time, whose kernels are compiled as it is loaded."""

from __future__ import annotations

import re
from typing import Any

from deploy.engines.cuda_base import CudaDevice
from deploy.engines.plan import Platform
from deploy.engines.tensorrt_library import RTX, import_library
from deploy.engines.trt import TrtEngine
from deploy.errors import InputError
from deploy.files import write_file

__all__ = ["TrtRtxEngine", "capability_of"]

CACHE_FILE = "runtime.cache"  # beside the plan


class TrtRtxEngine(TrtEngine):
    """As `TrtEngine`, by TensorRT for RTX; compiled kernels are kept beside the plan for the next time it is opened."""

    library = RTX
    parser = RTX.name
    packages = RTX.modules
    install = RTX.install

    @classmethod
    def read_platform(cls, gpu: str | None = None) -> Platform:
        if gpu is None:
            return super().read_platform()
        version = str(import_library(cls.library).__version__)
        return Platform(version, "", capability_of(gpu), "", cls.library.name)

    @classmethod
    def platform_of(cls, tensorrt: Any, device: CudaDevice) -> Platform:
        return Platform(str(tensorrt.__version__), "", device.compute_capability, "", cls.library.name)

    def _load_plugins(self, tensorrt: Any) -> None:
        """It has no library of plugins."""

    def _make_context(self) -> Any:
        config = self._engine.create_runtime_config()
        cache = config.create_runtime_cache()
        file = self.path.with_name(CACHE_FILE)
        if file.is_file():
            cache.deserialize(file.read_bytes())
        config.set_runtime_cache(cache)
        context = self._engine.create_execution_context(config)
        write_file(file, bytes(memoryview(cache.serialize())), 0o600)  # kernels were compiled as the context was made
        return context


def capability_of(gpu: str) -> str:
    """The compute capability of a name: "8.6" of "sm86"; an `InputError` for what is no such name."""
    found = re.fullmatch(r"sm(\d+)(\d)", gpu.lower())
    if found is None:
        raise InputError(f"a GPU is named by its compute capability, as sm86, not {gpu!r}")
    return ".".join(found.groups())
