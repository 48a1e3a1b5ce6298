"""How long do our exports take beside everything else one can do with the same weights on a CPU?

    python benchmarks/exports_compared.py [--cases r18-faster_rcnn,...] [--sizes 320x240,640x480,1080x720]

The other sides are torchvision's model exported by torchvision's own way, the same model in PyTorch and under
`torch.compile`, and the floor: the convolutions and linears of our graph alone. A CenterNet is none of torchvision's
models, so ours in PyTorch is what it is compared with. All in turns in one process, one image, same detections. Wanted:
never slower than any, at most 0.80 of torchvision's export at 320x240, at most 1.10 of the floor.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from export_vs_torchvision import CORES, extract_floor, feed_of, make_learnt
from gpu_parts.compiled import compile_model
from gpu_parts.pairs import TorchvisionDetector, draw_canvas
from side_by_side import Outcome, add_options, compare, finish, time_in_turns
from torch import nn
from torchvision.models import detection
from torchvision.models.detection import backbone_utils
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from deploy.engines import Engine, open_engine
from deploy.export import export_onnx
from optimizer.arch import base_arch
from optimizer.detectors import Detector, build_detector
from optimizer.quantities import parse_size
from optimizer.supernet.calibrate import recalibrate

CLASSES, CPU = 80, torch.device("cpu")
CASES = ("r18-faster_rcnn", "r50-faster_rcnn", "r50-retinanet", "r18-centernet")
WANTED_OF_EXPORT, WANTED_OF_FLOOR = {"320x240": 0.80}, 1.10


def build_ours(base: str, kind: str, size: tuple[int, int], proposals: int, canvas: np.ndarray) -> Detector:
    """Random weights that detect about as many objects as trained ones; anchors as torchvision has them."""
    arch = base_arch(base, size, kind, proposals if kind == "faster_rcnn" else None)
    if kind != "centernet":
        arch = replace(arch, head=replace(arch.head, anchor_scale=8))
    ours, image = build_detector(arch, CLASSES, seed=0), torch.from_numpy(canvas)
    recalibrate(ours, [image], CPU)
    make_learnt(ours, image)
    return ours.eval()


def build_theirs(base: str, kind: str, proposals: int, ours: Detector) -> nn.Module:
    """torchvision's detector with the same weights, or for a CenterNet ours as a module."""
    if kind == "centernet":
        return _Detecting(ours)
    name, norm = {"r18": "resnet18", "r50": "resnet50"}[base], nn.BatchNorm2d
    if kind == "faster_rcnn":
        backbone = backbone_utils.resnet_fpn_backbone(backbone_name=name, weights=None, norm_layer=norm)
        theirs = detection.FasterRCNN(backbone, CLASSES + 1, rpn_post_nms_top_n_test=proposals)
    else:
        extra = LastLevelP6P7(256, 256)
        backbone = backbone_utils.resnet_fpn_backbone(
            backbone_name=name, weights=None, norm_layer=norm, returned_layers=[2, 3, 4], extra_blocks=extra
        )
        theirs = detection.RetinaNet(backbone, CLASSES, anchor_generator=detection.retinanet._default_anchorgen())
    theirs.load_state_dict(ours.state_dict())
    return TorchvisionDetector(theirs, kind).eval()


class _Detecting(nn.Module):
    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.model = detector

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.model.detect(images)[0])


def export_theirs(theirs: nn.Module, canvas: np.ndarray, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            theirs, (torch.from_numpy(canvas),), path, dynamo=False, opset_version=17, input_names=["images"]
        )


def check_agreement(ours: dict[str, np.ndarray], theirs: tuple[torch.Tensor, ...]) -> int:
    """How many detections both give; other ones would take another time."""
    count, scores = int(ours["count"][0]), theirs[1].numpy()
    shorter = min(count, len(scores))
    assert abs(count - len(scores)) <= 0.05 * max(count, 20), (count, len(scores))
    np.testing.assert_allclose(np.sort(ours["scores"][:count])[-shorter:], np.sort(scores)[-shorter:], atol=5e-3)
    return count


def measure_case(name: str, size: tuple[int, int], arguments: argparse.Namespace) -> dict[str, Any]:
    base, kind = name.split("-")
    canvas = draw_canvas(size, None)
    ours = build_ours(base, kind, size, arguments.region_proposals, canvas)
    theirs = build_theirs(base, kind, arguments.region_proposals, ours)
    image = torch.from_numpy(canvas)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:

        def opened(path: Path) -> Engine:
            return stack.enter_context(open_engine(path, arguments.threads))

        paths = {side: Path(folder) / f"{side}.onnx" for side in ("ours", "export", "floor")}
        export_onnx(ours, size, paths["ours"])
        extract_floor(paths["ours"], paths["floor"])
        engines = {"ours": opened(paths["ours"]), "floor": opened(paths["floor"])}
        if kind != "centernet":
            export_theirs(theirs, canvas, paths["export"])
            engines["torchvision's export"] = opened(paths["export"])
        runs: dict[str, Callable[[], Any]] = {
            side: partial(engine.infer, feed_of(engine, canvas)) for side, engine in engines.items()
        }
        runs["PyTorch"] = torch.no_grad()(partial(theirs, image))
        what = "not tried"
        if arguments.compile:
            compiled, _, what = compile_model(theirs, canvas, CPU)
            runs["torch.compile"] = torch.no_grad()(partial(compiled, image))
        detections = check_agreement(runs["ours"](), runs["PyTorch"]())
        samples = time_in_turns(runs, arguments.rounds, arguments.window, seconds=arguments.seconds)
    return {"detections": detections, "compiled": what, "samples_ms": samples}


def list_outcomes(name: str, size: str, samples: dict[str, np.ndarray]) -> list[Outcome]:
    found = []
    for side in samples:
        if side == "ours":
            continue
        ratio, ci95 = compare(samples["ours"], samples[side])
        wanted = WANTED_OF_FLOOR if side == "floor" else 1.0
        if side == "torchvision's export":
            wanted = WANTED_OF_EXPORT.get(size, 1.0)
        found.append(Outcome(f"{name} at {size}: ours over {side}", ratio, wanted, ci95=ci95))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES), type=lambda text: text.split(","))
    parser.add_argument("--sizes", default="320x240,640x480,1080x720", type=lambda text: text.split(","))
    parser.add_argument("--region-proposals", type=int, default=1000)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--threads", type=int, default=CORES)
    parser.add_argument("--window", type=int, default=2, help="runs of a side in one turn")
    parser.add_argument("--seconds", type=float, default=120.0, help="most time of the turns of one case")
    add_options(parser, "exports-compared", 12)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    outcomes, cases = [], {}
    for size in arguments.sizes:
        for name in arguments.cases:
            torch._dynamo.reset()
            found = measure_case(name, parse_size(size), arguments)
            cases[f"{name} {size}"] = found
            outcomes += list_outcomes(name, size, found["samples_ms"])
            medians = {side: round(float(np.median(times)), 1) for side, times in found["samples_ms"].items()}
            print(f"{name} {size}: {found['detections']} detections, median ms {medians}", flush=True)
    finish(arguments.json, __doc__.splitlines()[0], outcomes, cases=cases)


if __name__ == "__main__":
    main()
