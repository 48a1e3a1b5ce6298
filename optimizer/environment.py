"""What a run ran on, for its report."""

from __future__ import annotations

import platform
from importlib import metadata

import torch

__all__ = ["describe_environment"]

PACKAGES = ("detopt", "torch", "torchvision", "onnxruntime-gpu", "onnxruntime", "onnx", "numpy")


def describe_environment() -> dict[str, str]:
    """Versions and hardware, by name."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.release()}"}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    found["trained on"] = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    )
    return found
