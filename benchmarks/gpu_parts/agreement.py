"""Same weights, same canvas: our export on the GPU compared with torchvision's eager model, TF32 switched off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from gpu_parts.cases import Case, open_exports, prepare, run_torch
from gpu_parts.day import Day
from gpu_parts.pairs import CASES, match

__all__ = ["compare_case", "describe", "run"]

BOX = 1e-3  # of the canvas's longer side
SCORE = 1e-2
WANTED = 0.95  # share of detections that are the same; random weights have near ties in NMS


def run(day: Day) -> dict[str, Any]:
    device, result = torch.device("cuda"), {}
    for kind, size in CASES:
        case = prepare(kind, size, day, device)
        result[case.name] = compare_case(case, "ort-cuda", device)
        day.keep(result)
    return result


def compare_case(case: Case, engine: str, device: torch.device) -> dict[str, Any]:
    """Of each export: detections that torchvision's model has too, and those of our own eager model."""
    notes: dict[str, Any] = {}
    expected = run_torch(case.theirs, device)(case.canvas)
    eager = run_torch(lambda images: tuple(case.ours.detect(images)[0]), device)(case.canvas)
    with open_exports(case, engine, notes) as runs:
        found = {"our eager model": eager, **{name: run(case.canvas) for name, run in runs.items()}}
    rows = {name: match(expected, value, BOX * max(case.size), SCORE) for name, value in found.items()}
    return {
        "engines": notes,
        "tolerance": {"box_px": BOX * max(case.size), "score": SCORE},
        "same": {name: {**row._asdict(), "share": row.share} for name, row in rows.items()},
        "agrees": all(row.share >= WANTED for row in rows.values()),
    }


def describe(result: dict[str, Any]) -> Iterator[str]:
    yield "| case | side | torchvision finds | it finds | the same | furthest, px | score |"
    yield "|---|---|---|---|---|---|---|"
    for name, case in result.items():
        for side, row in case["same"].items():
            yield (
                f"| {name} | {side} | {row['expected']} | {row['found']} | {row['matched']} ({row['share']:.1%}) "
                f"| {row['box_px']:.3g} | {row['score']:.2g} |"
            )
    notes = {note for case in result.values() for engine in case["engines"].values() for note in engine}
    yield f"\nEngines: {'; '.join(sorted(notes))}. Wanted: {WANTED:.0%} the same; TF32 off on both sides."
