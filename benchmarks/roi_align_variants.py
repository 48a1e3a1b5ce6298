"""What does RoIAlign by GridSample cost compared with the operator, on ONNX Runtime's CPU provider?

    python benchmarks/roi_align_variants.py [--image some.jpg] [--report reports/FILE.md]

Faster R-CNN R18-FPN with random weights whose scores spread as a trained detector's do, exported with each variant of
RoIAlign; both are compared with their source by the gate, and timed in turns in one lease (`deploy.measure_models`).
Nodes are counted, of the graph and of what RoIAlign takes of it. The machine has to be quiet.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from export_vs_torchvision import CORES, NUM_CLASSES, describe_machine, make_learnt, read_canvas
from torch import from_numpy

from deploy import LatencyRecord, ModelSource, Preprocess, Setup, compare, measure_models
from deploy.export import ROI_ALIGN, check_parity, export_onnx
from optimizer.arch.families import base_arch
from optimizer.detectors import Detector, build_detector
from optimizer.quantities import parse_size


def build(size: tuple[int, int], region_proposals: int, canvas: np.ndarray) -> Detector:
    """Faster R-CNN R18-FPN that finds as much as one that has learnt something."""
    detector = build_detector(base_arch("r18", size, region_proposals=region_proposals), NUM_CLASSES, seed=0)
    make_learnt(detector, from_numpy(canvas))
    return detector


def measure_case(size: tuple[int, int], region_proposals: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One canvas and one number of regions: nodes, what the gate says, latencies and their ratio."""
    side = max(size)
    canvas = np.ascontiguousarray(read_canvas(arguments.image, side)[:, :, : size[1], : size[0]])
    detector = build(size, region_proposals, canvas)
    case: dict[str, Any] = {"size": size, "region_proposals": region_proposals, "variants": {}}
    with tempfile.TemporaryDirectory() as folder:
        subjects = {}
        for variant in ROI_ALIGN:
            report = export_onnx(detector, size, Path(folder) / f"{variant}.onnx", roi_align=variant)
            gate = check_parity(detector, report.path, [canvas])
            subjects[variant] = ModelSource(report.path, Preprocess.imagenet(*size), report.head)
            case["variants"][variant] = {
                "nodes": report.nodes, "detections": gate.detections, "box_px": gate.box_px, "score": gate.score,
            }  # fmt: skip
        images = [arguments.image] if arguments.image else []
        records = measure_models(subjects, images, arguments.level, Setup(threads=arguments.threads), report=print)
    found: dict[str, LatencyRecord] = {}
    for variant, record in records.items():
        assert isinstance(record, LatencyRecord), f"no latency of {variant}: {record}"
        found[variant] = record
        case["variants"][variant]["latency"] = record.to_json()
    ratio = compare(found["grid"], found["op"])
    case["grid_over_op"] = {"ratio": ratio.ratio, "ci95": ratio.ci95, "different": ratio.different}
    return case


def list_lines(result: dict[str, Any], command: str, figures: str) -> Iterator[str]:
    machine = result["machine"]
    yield f"# RoIAlign as the operator and by GridSample ({result['date']})"
    yield ""
    yield "Question: what does RoIAlign without a plugin cost where the operator is there?"
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| hardware | {machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads |"
    yield f"| versions | {', '.join(f'{name} {version}' for name, version in machine['versions'].items())} |"
    yield "| model | Faster R-CNN R18-FPN, 80 classes, random weights that find as much as trained ones |"
    yield ""
    yield f"    {command}"
    yield ""
    yield "| canvas | regions | `op`, ms | `grid`, ms | grid / op | 95 % interval | nodes op, grid | the gate's px |"
    yield "|---|---|---|---|---|---|---|---|"
    for case in result["cases"]:
        op, grid, ratio = case["variants"]["op"], case["variants"]["grid"], case["grid_over_op"]
        yield (
            f"| {case['size'][0]}x{case['size'][1]} | {case['region_proposals']} | {op['latency']['median_ms']:.1f} "
            f"| {grid['latency']['median_ms']:.1f} | {ratio['ratio']:.3f} | {ratio['ci95'][0]:.3f} to "
            f"{ratio['ci95'][1]:.3f} | {op['nodes']}, {grid['nodes']} | {op['box_px']:.1e}, {grid['box_px']:.1e} |"
        )
    yield ""
    yield f"All figures: [{figures}]({figures})."
    yield ""
    yield "## What this does not claim"
    yield ""
    yield "- Nothing about a GPU or TensorRT, where the operator is a plugin and GridSample a layer."
    yield "- Nothing about other widths of the pyramid: the samples of `grid` grow with it."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["320x240", "640x480"])
    parser.add_argument("--region-proposals", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--image", type=Path, help="image to detect in; noise and random blobs without it")
    parser.add_argument("--level", choices=("quick", "screen", "final"), default="screen")
    parser.add_argument("--threads", type=int, default=CORES)
    parser.add_argument("--report", type=Path, help="Markdown file to write, with a JSON file beside it")
    arguments = parser.parse_args()
    cases = []
    for text in arguments.sizes:
        for region_proposals in arguments.region_proposals:
            cases.append(measure_case(parse_size(text), region_proposals, arguments))
            print(text, region_proposals, cases[-1]["grid_over_op"], flush=True)
    machine = describe_machine(arguments.threads)
    result = {"date": datetime.now(timezone.utc).date().isoformat(), "machine": machine, "cases": cases}
    if arguments.report is not None:
        figures = arguments.report.with_suffix(".json")
        figures.write_text(json.dumps(result, indent=1) + "\n")
        counts = " ".join(map(str, arguments.region_proposals))
        command = f"python benchmarks/roi_align_variants.py --level {arguments.level} --region-proposals {counts}"
        command += f" --image {arguments.image.name}" if arguments.image else ""
        arguments.report.write_text("\n".join(list_lines(result, command, figures.name)) + "\n")


if __name__ == "__main__":
    main()
