"""ONNX Runtime on an NVIDIA GPU, by its CUDA provider."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from deploy.engines.cuda_driver import find_cuda_device
from deploy.engines.ort import OrtEngine
from deploy.errors import EngineError, InputError

__all__ = ["OrtCudaEngine"]

FATAL_ONLY = 4  # the library prints the reasons of a refusal in colours on stderr; the error raised here has them
ALL_ON_GPU = "session.disable_cpu_ep_fallback"
PARTLY_ON_CPU = "ONNX Runtime placed some operators on the CPU"


class OrtCudaEngine(OrtEngine):
    """An ONNX file in an ONNX Runtime session on the first GPU; images and results are copied inside each `infer`.

    A session on the CPU alone is an error. One that has a few operators there says so in `notes`.

    Raises:
        InputError: the file is missing or is not an ONNX model.
        EngineError: no GPU, an ONNX Runtime without CUDA, or one whose CUDA does not load.
    """

    provider = "CUDAExecutionProvider"
    messages = FATAL_ONLY
    install = (
        "python3 -m pip install 'onnxruntime-gpu[cuda,cudnn]', with the package onnxruntime taken away before: "
        "both write the same folder"
    )
    precisions = ("fp32", "fp16")
    uses_gpu = True
    is_reference = False

    def __init__(self, path: str | Path, threads: int | None = None, spins: bool = True) -> None:
        super().__init__(path, threads, spins)
        self.runtime = f"{self.runtime}, {find_cuda_device().name}"

    def _open(self, runtime: Any) -> Any:
        if self.provider not in runtime.get_available_providers():
            raise EngineError(f"this ONNX Runtime is not built for CUDA: {self.install}")
        missing = _load_libraries(runtime)
        try:
            return self._open_session(runtime, {ALL_ON_GPU: "1"})
        except InputError:  # of the model, or because an operator has no place on the GPU: the next attempt tells
            session = self._open_session(runtime, {})
        if session.get_providers()[:1] != [self.provider]:
            reason = missing or "its CUDA libraries are there, so look at the driver's version and the GPU"
            raise EngineError(f"ONNX Runtime's CUDA does not load: {reason}; install: {self.install}")
        self.notes = (PARTLY_ON_CPU,)
        return session


def _load_libraries(runtime: Any) -> str:
    """Load CUDA's and cuDNN's libraries where pip put them; the first that is not found, in the library's words."""
    if not hasattr(runtime, "preload_dlls"):  # before ONNX Runtime 1.21
        return ""
    printed = io.StringIO()
    with redirect_stdout(printed):
        runtime.preload_dlls()
    return next((line for line in printed.getvalue().splitlines() if "Failed" in line), "")
