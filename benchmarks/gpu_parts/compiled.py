"""The same as `latency`, with torchvision's models under `torch.compile` in the turns."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch

from gpu_parts import latency
from gpu_parts.cases import allow_tf32, prepare, run_torch
from gpu_parts.day import Day
from gpu_parts.pairs import CASES

__all__ = ["compile_model", "describe", "run"]

COMPILED = "torchvision compiled"
LEAST_S = 25.0  # a case begun with less would not be compiled in time


def run(day: Day) -> dict[str, Any]:
    allow_tf32()
    device, result = torch.device("cuda"), {}
    for kind, size in CASES:
        if day.left_s() < LEAST_S:
            result[f"{kind} {size[0]}x{size[1]}"] = {"error": f"not begun: {day.left_s():.0f} s were left"}
            continue
        case = prepare(kind, size, day, device)
        torch._dynamo.reset()
        model, seconds, what = compile_model(case.theirs, case.canvas, device)
        timing_s = min(latency.TIMING_S, 0.5 * max(day.left_s(), 1.0))
        found = latency.time_case(case, {latency.EAGER: case.theirs, COMPILED: model}, "ort-cuda", device, timing_s)
        result[case.name] = {**found, "compile_s": round(seconds, 1), "compiled": what}
        day.keep(result)
    return result


def compile_model(model: torch.nn.Module, canvas: Any, device: torch.device) -> tuple[Any, float, str]:
    """The model under `torch.compile`, run three times; where that fails, with its backbone compiled alone.

    Beside it the seconds this took, and what was compiled.
    """
    began = time.monotonic()
    try:
        whole = torch.compile(model)
        for _ in range(3):
            run_torch(whole, device)(canvas)
        return whole, time.monotonic() - began, "the whole model"
    except Exception as error:  # of the compiler or of what it calls
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    torch._dynamo.reset()
    inner = model.get_submodule("model")
    backbone, compiled = inner.get_submodule("backbone"), torch.compile(inner.get_submodule("backbone"))

    def run(images: torch.Tensor) -> Any:
        inner.backbone = compiled
        try:
            return model(images)
        finally:
            inner.backbone = backbone

    for _ in range(3):
        run_torch(run, device)(canvas)
    return run, time.monotonic() - began, f"the backbone alone; the whole failed: {reason}"


def describe(result: dict[str, Any]) -> Iterator[str]:
    yield from latency.describe(result)
    yield ""
    for name, case in result.items():
        if "over" not in case:
            continue
        ratios = case["over"].get(COMPILED, {})
        yield f"- {name}: {case['compiled']} compiled in {case['compile_s']} s; over it: {ratios}"
