"""What NVIDIA's own builders make of our exports, where they are installed: built, run, compared, timed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import torch

from deploy.engines import ENGINES
from deploy.errors import DeployError
from gpu_parts import latency
from gpu_parts.cases import allow_tf32, prepare
from gpu_parts.day import Day, Skip
from gpu_parts.pairs import CASES

__all__ = ["describe", "run"]

LIBRARIES = {"trt": ("tensorrt",), "rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}  # by our engine's name


def run(day: Day) -> dict[str, Any]:
    there = [name for name, modules in LIBRARIES.items() if name in ENGINES and any(map(find_spec, modules))]
    if not there:
        raise Skip("neither TensorRT nor TensorRT for RTX is installed")
    allow_tf32()
    device, result = torch.device("cuda"), {}
    for engine in there:
        for kind, size in CASES:
            case = prepare(kind, size, day, device)
            try:
                found = latency.time_case(case, {latency.EAGER: case.theirs}, engine, device, 3.0)
            except DeployError as error:
                found = {"error": str(error)}
            result[f"{engine}: {case.name}"] = found
            day.keep(result)
    return result


def describe(result: dict[str, Any]) -> Iterator[str]:
    yield from latency.describe(result)
