"""How long does our ONNX graph of Faster R-CNN R18-FPN take compared with torchvision's own export of the same weights?

    python benchmarks/export_vs_torchvision.py --image some.jpg

Both, and the floor (the convolutions and linears of our graph alone), run by turns in one process on ONNX Runtime's CPU
provider. Weights are random, scaled so that scores spread as a trained detector's do and NMS has its usual work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from deploy.engines import Engine, open_engine
from deploy.export import export_onnx
from optimizer.arch.families import base_arch
from optimizer.detectors import Detector, build_detector

NUM_CLASSES = 80
HEAVY = ("Conv", "Gemm", "MatMul")
MODELS = ("ours", "torchvision", "floor")
TARGETS = {300: 0.90, 1000: 0.75}  # ours / torchvision, by region proposals
CORES = len(os.sched_getaffinity(0))
PACKAGES = ("torch", "torchvision", "onnx", "onnxruntime", "numpy")


def read_canvas(path: Path | None, side_px: int) -> np.ndarray:
    """One canvas (1, 3, S, S), normalised: an image file squeezed to it, or smooth random blobs without one."""
    if path is None:
        noise = torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
        return nn.functional.interpolate(noise, (side_px, side_px), mode="bilinear").numpy()
    pixels = np.asarray(Image.open(path).convert("RGB").resize((side_px, side_px)), np.float32)
    return np.ascontiguousarray((pixels / 255 - 0.45).transpose(2, 0, 1)[None] / np.float32(0.225))


def spread_outputs(
    detector: Detector, layer: nn.Conv2d | nn.Linear, canvas: Tensor, deviation: float, mean: float
) -> None:
    """Scales a layer so that each of its output channels has this deviation and mean on a canvas."""
    seen: list[Tensor] = []
    hook = layer.register_forward_hook(lambda module, inputs, output: seen.append(output.movedim(1, -1).flatten(0, -2)))
    detector.detect(canvas)
    hook.remove()
    outputs = torch.cat(seen)
    with torch.no_grad():
        gain = deviation / outputs.std(0).clamp(min=1e-6)
        layer.weight.mul_(gain.reshape(-1, *[1] * (layer.weight.ndim - 1)))
        layer.bias.copy_((layer.bias - outputs.mean(0)) * gain + mean)


def make_learnt(detector: Detector, image: Tensor) -> None:
    """Gives a detector of random weights outputs on this canvas as one has them that has learnt something."""
    if detector.arch.head.kind == "faster_rcnn":
        head, predictor = detector.get_submodule("rpn").head, detector.get_submodule("roi_heads").box_predictor
        spread_outputs(detector, head.cls_logits, image, 2.0, -3.0)
        spread_outputs(detector, head.bbox_pred, image, 0.3, 0.0)
        spread_outputs(detector, predictor.cls_score, image, 1.5, 0.0)
        spread_outputs(detector, predictor.bbox_pred, image, 1.0, 0.0)
        with torch.no_grad():
            predictor.cls_score.bias[0] += 4.0  # most of a canvas is background
    elif detector.arch.head.kind == "retinanet":
        head = detector.get_submodule("head")
        spread_outputs(detector, head.classification_head.cls_logits, image, 1.0, -4.0)
        spread_outputs(detector, head.regression_head.bbox_reg, image, 0.3, 0.0)


def build_ours(side_px: int, region_proposals: int, canvas: np.ndarray) -> Detector:
    """Faster R-CNN R18-FPN with random weights and the scores of a detector that has learnt something."""
    arch = base_arch("r18", (side_px, side_px), region_proposals=region_proposals)
    detector = build_detector(arch, NUM_CLASSES, seed=0)
    make_learnt(detector, torch.from_numpy(canvas))
    return detector


def export_torchvision(ours: Detector, side_px: int, region_proposals: int, path: Path) -> None:
    """torchvision's legacy ONNX export of the same weights; its resizing and normalising do nothing at this size."""
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, norm_layer=nn.BatchNorm2d)
    theirs = FasterRCNN(
        backbone,
        num_classes=NUM_CLASSES + 1,
        min_size=side_px,
        max_size=side_px,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        rpn_post_nms_top_n_test=region_proposals,
        rpn_anchor_generator=ours.rpn.anchor_generator,
    )
    theirs.load_state_dict(ours.state_dict())
    image = torch.linspace(-2, 2, 3 * side_px * side_px).reshape(3, side_px, side_px)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            theirs.eval(),
            ([image],),
            path,
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            output_names=["boxes", "labels", "scores"],
        )


def extract_floor(source: Path, path: Path) -> None:
    """The yardstick of a graph: its convolutions and linears with what lies between, RoI features as a second input."""
    model = onnx.shape_inference.infer_shapes(onnx.load(source), data_prop=True)
    ends, starts = [], []
    above: dict[str, set[str]] = {}  # tensor: kinds of heavy operators upstream of it
    for node in model.graph.node:
        kinds = set().union(*(above.get(name, set()) for name in node.input))
        if node.op_type == "Gemm" and "Gemm" not in kinds:
            starts.append(node.input[0])
        if node.op_type in HEAVY:
            kinds = kinds | {node.op_type}
        above.update(dict.fromkeys(node.output, kinds))
    below: dict[str, set[str]] = {}
    for node in reversed(model.graph.node):
        kinds = set().union(*(below.get(name, set()) for name in node.output))
        if node.op_type in HEAVY and node.op_type not in kinds:
            ends.append(node.output[0])
        kinds = kinds | ({node.op_type} & set(HEAVY))
        for name in node.input:
            below.setdefault(name, set()).update(kinds)
    onnx.save(onnx.utils.Extractor(model).extract_model(["images", *dict.fromkeys(starts)], ends), path)


def feed_of(engine: Engine, canvas: np.ndarray) -> dict[str, np.ndarray]:
    """The canvas under each model's own name for it; anything else the model takes is random features."""
    rng, feed = np.random.default_rng(0), {}
    for spec in engine.inputs:
        shape = tuple(size for size in spec.shape if size is not None)
        is_image = spec.name in ("image", "images")
        feed[spec.name] = canvas.reshape(shape) if is_image else rng.random(shape, np.float32)
    return feed


def check_agreement(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> int:
    """How many detections both give; they must be the same, or the comparison means nothing."""
    count = int(ours["count"][0])
    assert count == len(theirs["scores"]), (count, len(theirs["scores"]))
    np.testing.assert_allclose(ours["scores"][:count], theirs["scores"], atol=1e-3)
    near = np.abs(ours["boxes"][:count, None] - theirs["boxes"][None]).max(2).min(1)
    assert (near < 0.1).mean() > 0.95, f"{(near >= 0.1).sum()} of {count} boxes differ"
    return count


def time_in_turns(
    engines: dict[str, Engine], canvas: np.ndarray, rounds: int, window: int, warm_up: int
) -> dict[str, list[float]]:
    """Milliseconds of every run: in each round each model runs one window, in an order that rotates."""
    feeds = {name: feed_of(engine, canvas) for name, engine in engines.items()}
    for name, engine in engines.items():
        for _ in range(warm_up):
            engine.infer(feeds[name])
    samples: dict[str, list[float]] = {name: [] for name in engines}
    names = list(engines)
    for index in range(rounds):
        for name in names[index % len(names) :] + names[: index % len(names)]:
            for _ in range(window):
                start = time.perf_counter_ns()
                engines[name].infer(feeds[name])
                samples[name].append((time.perf_counter_ns() - start) / 1e6)
    return samples


def measure_case(side_px: int, region_proposals: int, arguments: argparse.Namespace) -> dict[str, object]:
    """One canvas and one number of region proposals: sizes of the graphs, medians, ratios, raw samples."""
    canvas = read_canvas(arguments.image, side_px)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        paths = {name: Path(folder) / f"{name}.onnx" for name in MODELS}
        detector = build_ours(side_px, region_proposals, canvas)
        export_onnx(detector, (side_px, side_px), paths["ours"])
        export_torchvision(detector, side_px, region_proposals, paths["torchvision"])
        extract_floor(paths["ours"], paths["floor"])
        engines = {name: stack.enter_context(open_engine(paths[name], arguments.threads)) for name in MODELS}
        found = [engines[name].infer(feed_of(engines[name], canvas)) for name in ("ours", "torchvision")]
        detections = check_agreement(*found)
        samples = time_in_turns(engines, canvas, arguments.rounds, arguments.window, arguments.warm_up)
        nodes = {name: len(onnx.load(path).graph.node) for name, path in paths.items()}
    medians = {name: median(values) for name, values in samples.items()}
    return {
        "canvas_px": side_px,
        "region_proposals": region_proposals,
        "detections": detections,
        "nodes": nodes,
        "median_ms": {name: round(value, 3) for name, value in medians.items()},
        "quartiles_ms": {name: np.percentile(values, [25, 75]).round(3).tolist() for name, values in samples.items()},
        "ours_over_torchvision": round(medians["ours"] / medians["torchvision"], 4),
        "ours_over_floor": round(medians["ours"] / medians["floor"], 4),
        "target": TARGETS.get(region_proposals),
        "samples_ms": {name: [round(value, 3) for value in values] for name, values in samples.items()},
    }


def describe_machine(threads: int) -> dict[str, object]:
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": CORES,
        "threads": threads,
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in PACKAGES},
    }


def version_of(package: str) -> str:
    """Installed version; ONNX Runtime has two distributions of one name to import."""
    try:
        return version(package)
    except PackageNotFoundError:
        return version(f"{package}-gpu")


def rows_of(cases: Sequence[dict[str, object]]) -> Iterator[str]:
    yield "canvas  proposals  detections  nodes o/t    ours ms  torchvision ms  floor ms  ours/torchvision  target"
    for case in cases:
        times, nodes = case["median_ms"], case["nodes"]
        assert isinstance(times, dict) and isinstance(nodes, dict)
        yield (
            f"{case['canvas_px']:>6}  {case['region_proposals']:>9}  {case['detections']:>10}  "
            f"{nodes['ours']:>4}/{nodes['torchvision']:<5}  {times['ours']:>8.1f}  {times['torchvision']:>14.1f}  "
            f"{times['floor']:>8.1f}  {case['ours_over_torchvision']:>16.3f}  {case['target'] or '':>6}"
        )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[320, 512], help="canvas sides, pixels")
    parser.add_argument("--region-proposals", type=int, nargs="+", default=[300, 1000])
    parser.add_argument("--image", type=Path, help="image to detect in; random blobs without it")
    parser.add_argument("--rounds", type=int, default=20, help="turns of each model")
    parser.add_argument("--window", type=int, default=3, help="runs of a model in one turn")
    parser.add_argument("--warm-up", type=int, default=5, help="runs of each model before the first turn")
    parser.add_argument("--threads", type=int, default=CORES)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "reports", help="folder of the JSON file")
    parser.add_argument("--hardware", default=f"cpu{CORES}", help="word for the machine in the file's name")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    machine = describe_machine(arguments.threads)
    cases = [measure_case(side, rois, arguments) for side in arguments.sizes for rois in arguments.region_proposals]
    now = datetime.now(timezone.utc)
    settings = {name: getattr(arguments, name) for name in ("rounds", "window", "warm_up")}
    settings["image"] = arguments.image.name if arguments.image else None
    report = {"date": now.date().isoformat(), "machine": machine, "settings": settings, "cases": cases}
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"export-vs-torchvision_{arguments.hardware}_{now:%Y-%m}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print("\n".join(rows_of(cases)))
    print(path)


if __name__ == "__main__":
    main()
