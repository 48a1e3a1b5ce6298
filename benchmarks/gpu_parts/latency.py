"""Latency of our exports, by ONNX Runtime on CUDA, compared with torchvision's eager models of the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
import torch

from gpu_parts.cases import (
    Case,
    Run,
    allow_tf32,
    open_exports,
    prepare,
    run_torch,
    summarise,
    time_in_turns,
    time_on_gpu,
)
from gpu_parts.day import Day
from gpu_parts.machine import read_gpu
from gpu_parts.pairs import CASES, match

__all__ = ["describe", "run", "time_case"]

EAGER = "torchvision eager"
TIMING_S = 2.5  # of a case; building it takes longer


def run(day: Day) -> dict[str, Any]:
    allow_tf32()
    device, result = torch.device("cuda"), {}
    for kind, size in CASES:
        case = prepare(kind, size, day, device)
        result[case.name] = time_case(case, {EAGER: case.theirs}, "ort-cuda", device, TIMING_S)
        day.keep(result)
    return result


def time_case(
    case: Case, models: dict[str, Any], engine: str, device: torch.device, seconds: float, window: int = 10
) -> dict[str, Any]:
    """Our exports and PyTorch models by name in turns; all on the same canvas, from host memory to host memory."""
    notes: dict[str, Any] = {}
    before = read_gpu()
    with open_exports(case, engine, notes) as exports:
        runs: dict[str, Run] = {**exports, **{name: run_torch(model, device) for name, model in models.items()}}
        first = {name: run(case.canvas) for name, run in runs.items()}
        samples = time_in_turns(runs, case.canvas, seconds, window)
    on_gpu = device.type == "cuda"
    expected = first[next(iter(models))]
    return {
        "engines": notes,
        **summarise(samples),
        "gpu_ms": {name: time_on_gpu(model, case.canvas, device) for name, model in models.items()} if on_gpu else None,
        "same": {name: match(expected, found, 0.01 * max(case.size), 0.05).share for name, found in first.items()},
        "nodes": {
            name: len(onnx.load(path, load_external_data=False).graph.node) for name, path in case.exports.items()
        },
        "gpu_before": before,
        "gpu_after": read_gpu(),
    }


def describe(result: dict[str, Any]) -> Iterator[str]:
    yield "| case | side | median, ms | quartiles | over eager | between events, ms | detections as the first model's |"
    yield "|---|---|---|---|---|---|---|"
    for name, case in result.items():
        if "median_ms" not in case:
            yield f"| {name} | {case.get('error', 'not timed')} | | | | | |"
            continue
        for side, value in case["median_ms"].items():
            low, high = case["quartiles_ms"][side]
            over = case["over"].get(EAGER, {}).get(side)
            gpu = (case["gpu_ms"] or {}).get(side)
            yield (
                f"| {name} | {side} | {value:.2f} | {low:.2f} to {high:.2f} | {'' if over is None else f'{over:.3f}'} "
                f"| {'' if gpu is None else f'{gpu:.2f}'} | {case['same'][side]:.1%} |"
            )
    timed = [case for case in result.values() if "median_ms" in case]
    notes = {note for case in timed for engine in case["engines"].values() for note in engine}
    yield "\nFrom a canvas in host memory to detections in host memory, batch 1; TF32 allowed on both sides."
    yield f"Engines: {'; '.join(sorted(notes))}."
    yield f"GPU after: {timed[-1]['gpu_after'] if timed else None}."
