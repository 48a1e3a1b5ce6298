"""Do the variants of NMS in an exported graph (op, matrix, raw) detect the same, and what does each cost?

    python benchmarks/nms_variants.py --run RUN --data DATA [--latency final] [--report reports/FILE.md]

The trained base of a run is exported with each variant and made a bundle, and `deploy evaluate` says its average
precision on the validation images. Sets of boxes that had not settled are counted on every image, and on a blank and a
noise image beside them. A RetinaNet of the same size, with random weights scaled so that scores spread, is compared
with its PyTorch source by the gate. Latency is measured only when asked for: the machine has to be quiet.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from export_vs_torchvision import describe_machine, make_learnt
from safetensors.torch import load_file

from deploy import Bundle, BundleManifest, Preprocess, measure_models, open_engine, write_bundle
from deploy.data import Dataset, read_dataset, read_image
from deploy.errors import InputError, ParityError
from deploy.export import NMS, GraphReport, check_parity, export_onnx
from deploy.measuring.record import LatencyRecord
from deploy.pipeline.decode import count_unsettled, get_head
from optimizer.arch.families import base_arch
from optimizer.detectors import Detector, build_detector
from optimizer.store.run_store import RunStore

GATE_IMAGES = 32


def load_base(run: Path, num_classes: int) -> Detector:
    """The trained base of a run."""
    with RunStore.open(run, writable=False) as store:
        trial = store.history()[0]
        assert trial.arch is not None and trial.weights is not None, f"the base of {run} is not trained yet"
        detector = build_detector(trial.arch, num_classes)
        detector.load_state_dict(load_file(store.artefacts.path(trial.weights, verify=True)))
    return detector.eval()


def build_retinanet(size: tuple[int, int], num_classes: int, canvas: np.ndarray) -> Detector:
    """RetinaNet R18-FPN with random weights and the scores of a detector that has learnt something."""
    detector = build_detector(base_arch("r18", size, detector="retinanet"), num_classes, seed=0)
    make_learnt(detector, torch.from_numpy(canvas))
    return detector


def list_canvases(dataset: Dataset, preprocess: Preprocess) -> Iterator[np.ndarray]:
    for record in dataset.records:
        try:
            yield preprocess(read_image(record.path, (record.width, record.height)))[0]
        except InputError:
            continue


def write_variant(detector: Detector, nms: str, dataset: Dataset, folder: Path) -> Bundle:
    arch = detector.arch
    report = export_onnx(detector, arch.input_size, folder / f"{nms}.onnx", nms=nms)
    manifest = BundleManifest(
        name=nms,
        arch_id=arch.arch_id,
        arch=arch.to_json(),
        class_names=dataset.class_names,
        preprocess=Preprocess.imagenet(*arch.input_size),
        head=report.head,
        selection=report.selection,
        nms=nms,
    )
    return write_bundle(folder / nms, report.path, manifest)


def evaluate(bundle: Bundle, data: Path) -> dict[str, Any]:
    """What `deploy evaluate` says, by the bundle's own runtime."""
    command = [sys.executable, str(bundle.folder / "detect.pyz"), "evaluate", str(bundle.folder), "--json"]
    result = subprocess.run([*command, "--data", str(data)], stdout=subprocess.PIPE, check=True)
    values: dict[str, Any] = json.loads(result.stdout)
    return values


def count_sets(bundle: Bundle, canvases: Sequence[np.ndarray]) -> int:
    """Sets of boxes, of all canvases, whose result may differ from greedy NMS's."""
    total, size = 0, (bundle.preprocess.width, bundle.preprocess.height)
    with open_engine(bundle.model) as engine:
        for canvas in canvases:
            outputs = engine.infer({"images": canvas})
            found = get_head(bundle.head).decode(outputs, size, bundle.selection)
            total += count_unsettled(outputs, found, bundle.head, bundle.selection)
    return total


def compare_trained(detector: Detector, data: Path, folder: Path, latency: str | None) -> dict[str, Any]:
    """Average precision, unsettled sets and, if wanted, latency of a detector by variant."""
    dataset = read_dataset(data, "val")
    bundles = {nms: write_variant(detector, nms, dataset, folder) for nms in NMS}
    canvases = list(list_canvases(dataset, bundles["op"].preprocess))
    odd = [np.zeros_like(canvases[0]), np.random.default_rng(0).standard_normal(canvases[0].shape, np.float32)]
    rows: dict[str, Any] = {}
    for nms, bundle in bundles.items():
        values = evaluate(bundle, data)
        rows[nms] = {key: values[key] for key in ("ap", "ap50", "ap75", "images")}
        rows[nms].update(unsettled=count_sets(bundle, canvases), unsettled_blank_and_noise=count_sets(bundle, odd))
        rows[nms]["bytes"] = bundle.model.stat().st_size
        print(nms, rows[nms], flush=True)
    if latency is not None:
        images = [record.path for record in dataset.records[:64]]
        for nms, record in measure_models(bundles, images, latency, report=print).items():
            assert isinstance(record, LatencyRecord), f"no latency of {nms}: {record}"
            rows[nms]["latency"] = record.to_json()
    return rows


def compare_with_source(detector: Detector, canvases: Sequence[np.ndarray], folder: Path) -> dict[str, Any]:
    """What the gate says of each variant."""
    rows: dict[str, Any] = {}
    for nms in NMS:
        report: GraphReport = export_onnx(detector, detector.arch.input_size, folder / f"{nms}.onnx", nms=nms)
        try:
            gate = check_parity(detector, report.path, canvases, head=report.head, selection=report.selection)
            rows[nms] = {**vars(gate), "passes": True}
        except ParityError as error:
            rows[nms] = {"passes": False, "reason": str(error)}
        print(nms, rows[nms], flush=True)
    return rows


def write_report(path: Path, result: dict[str, Any], command: str) -> None:
    """Tables in Markdown, and every figure beside it as JSON."""
    path.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    machine, trained, spread = result["machine"], result["trained"], max(r["ap"] for r in result["trained"].values())
    spread -= min(row["ap"] for row in trained.values())
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"# Variants of NMS in an exported graph ({result['date']})",
        "",
        "Question: do `op`, `matrix` and `raw` detect the same? Wanted: average precisions within 0.001.",
        "",
        "| | |",
        "|---|---|",
        f"| hardware | {machine['cpu']}, {machine['cores']} cores |",
        f"| versions | {versions}, Python {machine['python']} |",
        f"| detector | {result['detector']} |",
        f"| images | {trained['op']['images']}, validation split |",
        "",
        f"    {command}",
        "",
        f"Faster R-CNN, trained; the average precisions are {spread:.5f} apart:",
        "",
        "| `nms` | AP | AP50 | AP75 | sets not settled | of a blank and a noise image |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| `{nms}` | {row['ap']:.5f} | {row['ap50']:.5f} | {row['ap75']:.5f} | {row['unsettled']} "
        f"| {row['unsettled_blank_and_noise']} |"
        for nms, row in trained.items()
    ]
    if "latency" in trained["op"]:
        lines += ["", "| `nms` | median, ms | 95 % interval | by `op` |", "|---|---|---|---|"]
        lines += [
            f"| `{nms}` | {row['latency']['median_ms']:.2f} | {row['latency']['ci95_ms']} "
            f"| {row['latency']['median_ms'] / trained['op']['latency']['median_ms']:.3f} |"
            for nms, row in trained.items()
        ]
    lines += [
        "",
        f"RetinaNet R18 of random weights beside PyTorch, on {result['gate_images']} images, a blank and noise:",
        "",
        "| `nms` | gate | matched | near ties | coordinate, px | score | sets not settled |",
        "|---|---|---|---|---|---|---|",
    ]
    for nms, row in result["retinanet"].items():
        figures = (
            [row[key] for key in ("detections", "near_ties", "box_px", "score", "unsettled")] if row["passes"] else []
        )
        cells = [f"{value:.2g}" if isinstance(value, float) else str(value) for value in figures] or [row["reason"]]
        lines.append(f"| `{nms}` | {'passes' if row['passes'] else 'does not pass'} | {' | '.join(cells)} |")
    lines += ["", f"All figures: [{path.with_suffix('.json').name}]({path.with_suffix('.json').name}).", ""]
    lines += ["## What this does not claim", ""]
    if "latency" not in trained["op"]:
        lines.append("- Nothing about latency: none was measured.")
    lines += ["- Nothing about TensorRT or a GPU; ONNX Runtime's CPU provider ran every graph.", ""]
    path.write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="whose trained base is exported")
    parser.add_argument("--data", type=Path, required=True, help="the images the run was trained on")
    parser.add_argument("--latency", choices=("quick", "screen", "final"), help="measure it too, at this level")
    parser.add_argument("--report", type=Path, help="Markdown file to write, with a JSON file beside it")
    arguments = parser.parse_args()
    dataset = read_dataset(arguments.data, "val")
    detector = load_base(arguments.run, len(dataset.class_names))
    size = detector.arch.input_size
    canvases = []
    for canvas in list_canvases(dataset, Preprocess.imagenet(*size)):
        canvases.append(canvas)
        if len(canvases) == GATE_IMAGES:
            break
    with tempfile.TemporaryDirectory() as folder:
        trained = compare_trained(detector, arguments.data, Path(folder), arguments.latency)
        retinanet = build_retinanet(size, len(dataset.class_names), canvases[0])
        parity = compare_with_source(retinanet, canvases, Path(folder))
    result = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": describe_machine(torch.get_num_threads()),
        "detector": f"Faster R-CNN {detector.arch.arch_id}, {size[0]}x{size[1]}, {len(dataset.class_names)} classes",
        "gate_images": len(canvases),
        "trained": trained,
        "retinanet": parity,
    }
    spread = max(row["ap"] for row in trained.values()) - min(row["ap"] for row in trained.values())
    print(f"average precisions are {spread:.6f} apart; wanted: at most 0.001")
    if arguments.report is not None:
        options = f" --latency {arguments.latency}" if arguments.latency else ""
        write_report(arguments.report, result, f"python benchmarks/nms_variants.py --run RUN --data DATA{options}")


if __name__ == "__main__":
    main()
