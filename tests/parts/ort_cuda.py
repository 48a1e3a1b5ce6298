"""A double of ONNX Runtime's CUDA provider: sessions that say they are on the GPU and compute on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnxruntime
import pytest

from deploy.engines.cuda_driver import CudaDevice

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
STRICT = "session.disable_cpu_ep_fallback"


def pretend_ort_cuda(
    monkeypatch: pytest.MonkeyPatch, built: bool = True, loads: bool = True, has_all: bool = True
) -> Callable[[], list[Any]]:
    """Put the double in its place; calling what it returns gives the sessions that were opened.

    Args:
        built: whether the package has the provider. loads: whether its libraries are found.
        has_all: whether every operator has a place on the GPU.
    """
    opened: list[Any] = []
    real = onnxruntime.InferenceSession

    class Session:
        def __init__(self, path: str, options: Any, providers: list[str], enable_fallback: int = 1) -> None:
            if providers == [CPU]:
                self.on, self.real = [CPU], real(path, options, providers=providers)
                return
            try:
                strict = options.get_session_config_entry(STRICT) == "1"
            except RuntimeError:  # it was not set
                strict = False
            if strict and not (loads and has_all):
                raise RuntimeError("This session contains graph nodes that are assigned to the default CPU EP")
            plain = onnxruntime.SessionOptions()
            plain.log_severity_level = options.log_severity_level
            self.real = real(path, plain, providers=[CPU])
            self.on = [CUDA, CPU] if loads else [CPU]
            self.falls_back = bool(enable_fallback)
            opened.append(self)

        def get_providers(self) -> list[str]:
            return self.on

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

    def preload() -> None:
        print("" if loads else "Failed to load libcudnn.so.9: cannot open shared object file\nPlease follow a page")

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU] if built else [CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", preload, raising=False)
    monkeypatch.setattr("deploy.engines.ort_cuda.find_cuda_device", lambda: CudaDevice("NVIDIA Double", 1))
    return lambda: opened
