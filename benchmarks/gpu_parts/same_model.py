"""The A/A test on the GPU: one model measured as two, as a search measures a student and its base."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from aa_test import try_once

from deploy.export import export_onnx
from gpu_parts.day import Day
from optimizer.arch.families import base_arch
from optimizer.detectors import build_detector

__all__ = ["describe", "run"]

LEVEL, SIZE = "screen", (640, 480)
WANTED = 0.05


def run(day: Day) -> dict[str, Any]:
    model = day.scratch / "r18.onnx"
    if not model.exists():
        export_onnx(build_detector(base_arch("r18", SIZE), 3, seed=0).eval(), SIZE, model, nms="matrix")
    result: dict[str, Any] = {"level": LEVEL, "model": f"Faster R-CNN R18-FPN {SIZE[0]}x{SIZE[1]}, matrix", "tries": []}
    longest = 0.0
    while not result["tries"] or day.left_s() > 1.2 * longest:
        began = time.monotonic()
        result["tries"].append(try_once(model, LEVEL, None, len(result["tries"]), "ort-cuda", "cuda"))
        longest = max(longest, time.monotonic() - began)
        day.keep(result)
    return result


def describe(result: dict[str, Any]) -> Iterator[str]:
    judged = [item for item in result["tries"] if "error" not in item]
    called = sum(item["different"] for item in judged)
    yield f"{result['model']}, level {result['level']}: called different in {called} of {len(judged)} tries."
    for item in result["tries"]:
        shown = (f"{key} {item[key]}" for key in ("ratio", "ci95", "median_ms", "flags") if key in item)
        yield f"- {item.get('error') or ', '.join(shown)}"
