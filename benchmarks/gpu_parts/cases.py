"""What the parts that compare detections and latencies share: a pair of detectors, its exports, and who is timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from deploy.engines import open_engine
from deploy.export import export_onnx
from deploy.pipeline.decode import get_head
from gpu_parts.day import Day
from gpu_parts.pairs import Found, build_pair, draw_canvas
from optimizer.detectors import Detector

__all__ = [
    "Case", "Run", "allow_tf32", "open_exports", "prepare", "run_torch", "summarise", "time_in_turns", "time_on_gpu",
]  # fmt: skip

HEAD = "detections"  # of graphs with the NMS "op" and "matrix"
Run = Callable[[np.ndarray], Found]


@dataclass(frozen=True)
class Case:
    """A pair of detectors of the same weights on one canvas, and our exports of it by name (``ours matrix``)."""

    name: str
    size: tuple[int, int]
    canvas: np.ndarray
    ours: Detector
    theirs: nn.Module
    exports: Mapping[str, Path]


def prepare(kind: str, size: tuple[int, int], day: Day, device: torch.device, region_proposals: int = 1000) -> Case:
    """The case, made once for all parts: weights and exports are kept beside the parts' own scratch folders.

    Exported is what the target `cuda` takes (NMS by matrix rounds); at 640x480 and below also RoIAlign by GridSample,
    and at 320x240 and below the operator's NMS, which is far slower on a GPU.
    """
    name = f"{kind} {size[0]}x{size[1]}"
    canvas = draw_canvas(size, day.data)
    folder = day.scratch.parent / "cases" / name.replace(" ", "-")
    ours, theirs = build_pair(kind, size, canvas, device, region_proposals)
    weights = folder / "weights.pt"
    if weights.exists():
        state = torch.load(weights, map_location=device, weights_only=True)
        ours.load_state_dict(state)
        theirs.get_submodule("model").load_state_dict(state)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(ours.state_dict(), weights.with_suffix(".new"))
        weights.with_suffix(".new").replace(weights)
    exports = {}
    variants = [("matrix", "op"), ("op", "op")] if size[0] <= 320 else [("matrix", "op")]
    if size[0] <= 640 and kind == "faster_rcnn":
        variants.append(("matrix", "grid"))
    for nms, roi_align in variants:
        variant = nms if roi_align == "op" else f"{nms}, {roi_align}"
        path = folder / f"{variant.replace(', ', '-')}.onnx"
        if not path.exists():
            export_onnx(ours, size, path, nms=nms, roi_align=roi_align)
        exports[f"ours {variant}"] = path
    return Case(name, size, canvas, ours, theirs, exports)


@contextmanager
def open_exports(case: Case, engine: str, notes: dict[str, Any]) -> Iterator[dict[str, Run]]:
    """Runs of the case's exports by name; `notes` takes what each engine says of itself."""
    with ExitStack() as stack:
        runs: dict[str, Run] = {}
        for name, path in case.exports.items():
            opened = stack.enter_context(open_engine(path, None, engine))
            notes[name] = [opened.runtime, *opened.notes]
            runs[name] = _run_engine(opened, case.size)
        yield runs


def _run_engine(engine: Any, size: tuple[int, int]) -> Run:
    def run(canvas: np.ndarray) -> Found:
        found = get_head(HEAD).decode(engine.infer({"images": canvas}), size, None)
        return Found(found.boxes_xyxy, found.scores, found.labels)

    return run


def run_torch(model: Callable[..., Any], device: torch.device) -> Run:
    """The canvas to the device, the model, and its detections back to the host."""

    @torch.no_grad()
    def run(canvas: np.ndarray) -> Found:
        return Found(*(value.cpu().numpy() for value in model(torch.from_numpy(canvas).to(device))))

    return run


def time_in_turns(
    runs: Mapping[str, Run], canvas: np.ndarray, seconds: float, window: int = 10, rounds: int = 30
) -> dict[str, list[float]]:
    """Milliseconds of every run, host to host: each runs one window in each round, in an order that rotates.

    Ends with the rounds, or with the round in which the seconds are over. A window and a half warm each up.
    """
    for run in runs.values():
        for _ in range(window + window // 2):
            run(canvas)
    samples: dict[str, list[float]] = {name: [] for name in runs}
    names, end = list(runs), time.monotonic() + seconds
    for index in range(rounds):
        for name in names[index % len(names) :] + names[: index % len(names)]:
            for _ in range(window):
                start = time.perf_counter_ns()
                runs[name](canvas)
                samples[name].append((time.perf_counter_ns() - start) / 1e6)
        if time.monotonic() > end:
            break
    return samples


def time_on_gpu(model: Callable[..., Any], canvas: np.ndarray, device: torch.device, runs: int = 30) -> float:
    """Median milliseconds between CUDA events before and after a model that has its canvas on the GPU."""
    images, values = torch.from_numpy(canvas).to(device), []
    for _ in range(runs):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        with torch.no_grad():
            start.record()
            model(images)
            end.record()
        end.synchronize()
        values.append(start.elapsed_time(end))
    return round(median(values), 3)


def summarise(samples: Mapping[str, list[float]]) -> dict[str, Any]:
    """Medians, quartiles and numbers of runs by name; and the medians over torchvision's where it is one of them."""
    medians = {name: median(values) for name, values in samples.items()}
    return {
        "median_ms": {name: round(value, 3) for name, value in medians.items()},
        "quartiles_ms": {name: np.percentile(values, [25, 75]).round(3).tolist() for name, values in samples.items()},
        "runs": {name: len(values) for name, values in samples.items()},
        "over": {
            other: {name: round(value / medians[other], 4) for name, value in medians.items() if name != other}
            for other in medians
            if other.startswith("torchvision")
        },
    }


def allow_tf32() -> None:
    """TF32 in PyTorch's convolutions and matrix products, as ONNX Runtime has it unless told otherwise."""
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
