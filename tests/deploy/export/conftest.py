"""Small detectors whose scores spread as a trained one's do, and canvases with something to see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from optimizer.arch import (
    ArchSpec,
    BlockSpec,
    CenterNetHead,
    DeconvSpec,
    FasterRCNNHead,
    FpnSpec,
    Head,
    Neck,
    ResNetSpec,
    RetinaNetHead,
    StageSpec,
)
from optimizer.detectors import Detector, build_detector

WIDTH, HEIGHT = 170, 130


def draw_canvas(seed: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Smooth random blobs (1, 3, H, W), normalised."""
    noise = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(noise, (height, width), mode="bilinear").numpy()


def spread_outputs(detector: Detector, layer: nn.Conv2d | nn.Linear, deviation: float, mean: float) -> None:
    """Scales a layer so that its outputs on a canvas have this deviation and mean in each channel."""
    seen: list[Tensor] = []
    hook = layer.register_forward_hook(lambda module, inputs, output: seen.append(output.movedim(1, -1).flatten(0, -2)))
    detector.detect(torch.from_numpy(draw_canvas(0, detector.arch.input_size[0], detector.arch.input_size[1])))
    hook.remove()
    outputs = torch.cat(seen)
    with torch.no_grad():
        gain = deviation / outputs.std(0).clamp(min=1e-6)
        layer.weight.mul_(gain.reshape(-1, *[1] * (layer.weight.ndim - 1)))
        assert layer.bias is not None
        layer.bias.copy_((layer.bias - outputs.mean(0)) * gain + mean)


def give_scores(detector: Detector) -> Detector:
    """The same detector with the scores of one that has learnt something."""
    if detector.arch.head.kind == "retinanet":
        spread_outputs(detector, detector.head.classification_head.cls_logits, 1.5, -2.0)
        spread_outputs(detector, detector.head.regression_head.bbox_reg, 0.3, 0.0)
    elif detector.arch.head.kind == "centernet":
        for double in detector.backbone.deconv:
            double.conv.weight.data.mul_(200.0)
        spread_outputs(detector, detector.head.heatmap[2], 1.5, -1.5)
        spread_outputs(detector, detector.head.size[2], 2.0, 5.0)
        spread_outputs(detector, detector.head.offset[2], 0.3, 0.5)
    else:
        spread_outputs(detector, detector.rpn.head.cls_logits, 2.0, -3.0)
        spread_outputs(detector, detector.rpn.head.bbox_pred, 0.3, 0.0)
        spread_outputs(detector, detector.roi_heads.box_predictor.bbox_pred, 1.0, 0.0)
        spread_outputs(detector, detector.roi_heads.box_predictor.cls_score, 1.5, 0.0)
    return detector


def narrow_arch(kind: str, width: int = WIDTH, height: int = HEIGHT) -> ArchSpec:
    stages = tuple(
        StageSpec((BlockSpec((8 * 2**index, 8 * 2**index), 1 if index == 0 else 2, projection=index > 0),))
        for index in range(4)
    )
    heads: dict[str, Head] = {
        "retinanet": RetinaNetHead(4, anchor_scale=4),
        "faster_rcnn": FasterRCNNHead(16, 32, 60, anchor_scale=4),
        "centernet": CenterNetHead(16),
    }
    necks: dict[str, Neck] = {"fpn": FpnSpec(16), "deconv": DeconvSpec(16, 16, 16)}
    return ArchSpec((width, height), ResNetSpec(stages, stem_width=8), necks[heads[kind].neck], heads[kind])


@pytest.fixture(scope="session")
def make_detector() -> Callable[[str], Detector]:
    return lambda kind: give_scores(build_detector(narrow_arch(kind), num_classes=4, seed=0))


@pytest.fixture(scope="session")
def with_scores() -> Callable[[Detector], Detector]:
    return give_scores


@pytest.fixture(scope="session")
def canvases() -> list[np.ndarray]:
    return [draw_canvas(seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="session", params=["faster_rcnn", "retinanet", "centernet"])
def exported(
    request: pytest.FixtureRequest, make_detector: Callable[[str], Detector], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Detector, Path]:
    """A small detector of each kind and its exported file."""
    from deploy.export import export_onnx

    detector = make_detector(request.param)
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(detector, (WIDTH, HEIGHT), path)
    return detector, path
