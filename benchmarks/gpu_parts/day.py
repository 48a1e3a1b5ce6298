"""What a part of `gpu_day.py` is handed. Imports nothing heavy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.engines.cuda_driver import find_cuda_device
from deploy.errors import EngineError

__all__ = ["Day", "Skip", "require_cuda_of_torch", "require_gpu", "write_json"]


class Skip(Exception):
    """A part cannot be done here; the text says why."""


@dataclass(frozen=True)
class Day:
    """One part's share of the day.

    Attributes:
        data: folder of labelled images, None without.
        deadline: on the monotonic clock; later the part is ended from outside.
        keep: writes what is found so far, which survives such an end.
        scratch: a folder of the part's own, which may not exist yet.
    """

    data: Path | None
    deadline: float
    keep: Callable[[dict[str, Any]], None]
    scratch: Path

    def left_s(self) -> float:
        return self.deadline - time.monotonic()


def require_gpu() -> str:
    """The first GPU's name; `Skip` where there is none. Takes no memory of the GPU."""
    try:
        return find_cuda_device().name
    except EngineError as error:
        raise Skip(f"no NVIDIA GPU: {error}") from error


def require_cuda_of_torch() -> None:
    """`Skip` where PyTorch does not reach the GPU that is there."""
    import torch

    if not torch.cuda.is_available():
        raise Skip(f"the driver has {require_gpu()}, but PyTorch {torch.__version__} does not reach it")


def write_json(path: Path, value: Any) -> None:
    """Written aside and renamed: stopped at any moment, the file is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".new")
    aside.write_text(json.dumps(value, indent=1) + "\n")
    aside.replace(path)
