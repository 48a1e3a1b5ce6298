"""What machine this is: hardware, driver, versions, and what a GPU's sensors tell at rest."""

from __future__ import annotations

import ctypes
import importlib
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.engines.cuda_driver import find_cuda_device
from deploy.errors import EngineError
from deploy.measuring.device import read_fingerprint
from deploy.sensors.nvml import NvmlSensor
from gpu_parts.day import Day

__all__ = ["describe", "read_gpu", "run"]

SHARED = Path("/dev/shm")  # what the loader's workers hand their images over in
PACKAGES = ("torch", "torchvision", "onnxruntime", "onnx", "numpy", "PIL", "pydantic", "pycocotools", "pytest")


def run(day: Day) -> dict[str, Any]:
    found = read_fingerprint("", 0)
    result: dict[str, Any] = {
        "cpu": found.cpu,
        "cores": found.cores,
        "system": found.system,
        "gpu": _name_gpu(),
        "driver": read_driver(),
        "versions": {name: _version(name) for name in PACKAGES},
        "shared_memory_mib": shutil.disk_usage(SHARED).total >> 20 if SHARED.is_dir() else None,
        "at_rest": read_gpu(),
        "processor": platform.machine(),
    }
    import torch

    result["cuda"], result["cudnn"] = torch.version.cuda, torch.backends.cudnn.version()
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        result["capability"] = f"{properties.major}.{properties.minor}"
        result["gpu_memory_mib"] = properties.total_memory >> 20
        result["multiprocessors"] = properties.multi_processor_count
    try:
        import onnxruntime

        result["onnxruntime_from"] = onnxruntime.__path__[0]
        result["providers"] = onnxruntime.get_available_providers()
    except ImportError as error:
        result["providers"] = f"ONNX Runtime does not load: {error}"
    return result


def describe(result: dict[str, Any]) -> Iterator[str]:
    yield f"- GPU: {result['gpu']}, driver {result['driver']}"
    yield f"- CUDA {result['cuda']} and cuDNN {result['cudnn']} of PyTorch"
    yield f"- CPU: {result['cpu']}, {result['cores']} physical cores; {result['system']}"
    yield "- " + ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    yield f"- ONNX Runtime's providers: {result['providers']}"
    yield f"- GPU at rest: {result['at_rest']}"


def read_gpu() -> dict[str, Any] | None:
    """Temperature, clocks, power and limits of the GPU now; None where no driver tells."""
    try:
        sensor = NvmlSensor()
    except OSError:
        return None
    try:
        return sensor.read()._asdict()
    finally:
        sensor.close()


def read_driver() -> str | None:
    """The version of NVIDIA's driver; None where there is none."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")  # without nvidia-ml-py too
        text = ctypes.create_string_buffer(96)
        if nvml.nvmlInit_v2() or nvml.nvmlSystemGetDriverVersion(text, ctypes.c_uint(len(text))):
            return None
    except (OSError, AttributeError):
        return None
    return text.value.decode(errors="replace")


def _name_gpu() -> str:
    try:
        return find_cuda_device().name
    except EngineError as error:
        return f"none: {error}"


def _version(name: str) -> str:
    try:
        return str(getattr(importlib.import_module(name), "__version__", "there"))
    except Exception as error:  # whatever a broken package does
        return f"does not load ({type(error).__name__})"
