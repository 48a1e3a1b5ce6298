"""torchvision's detectors and ours, on the same weights and the same normalised tensor, detect the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.image_list import ImageList

from optimizer.arch.families import base_arch
from optimizer.detectors import Detector, Prediction, build_detector
from optimizer.detectors.weights import load_weights

WIDTH, HEIGHT, OUTPUTS = 160, 128, 5


def perturb(model: nn.Module) -> None:
    """Statistics and weights as after training, so that nothing agrees by being zero or one."""
    generator = torch.Generator().manual_seed(0)
    state = model.state_dict()
    for name, value in state.items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.is_floating_point() and (".bn" in name or "downsample.1" in name):
            value.add_(torch.randn(value.shape, generator=generator) * 0.05)
        elif "cls_score" in name:
            value.copy_(torch.randn(value.shape, generator=generator) * 0.25)
        elif "classification_head.cls_logits.weight" in name:
            value.copy_(torch.randn(value.shape, generator=generator) * 0.01)
    model.load_state_dict(state)


def load(kind: str, reference: nn.Module, folder: Path) -> Detector:
    torch.save(reference.state_dict(), folder / "weights.pth")
    classes = OUTPUTS - 1 if kind == "faster_rcnn" else OUTPUTS  # Faster R-CNN's first class is the background
    arch = base_arch("r50", (WIDTH, HEIGHT), detector=kind)
    if arch.head.anchor_scale != 8:
        from dataclasses import replace

        arch = replace(arch, head=replace(arch.head, anchor_scale=8))
    detector = build_detector(arch, classes)
    assert load_weights(detector, folder / "weights.pth").fresh == ()
    return detector.eval()


def faster_rcnn(model: nn.Module, images: torch.Tensor) -> Prediction:
    canvases = ImageList(images, [(HEIGHT, WIDTH)])
    maps = model.backbone(images)
    proposals, _ = model.rpn(canvases, maps)
    found = model.roi_heads(maps, proposals, canvases.image_sizes)[0][0]
    return Prediction(found["boxes"], found["scores"], found["labels"] - 1)


def retinanet(model: nn.Module, images: torch.Tensor) -> Prediction:
    maps = list(model.backbone(images).values())
    out = model.head(maps)
    anchors = model.anchor_generator(ImageList(images, [(HEIGHT, WIDTH)]), maps)
    sizes = [map_.shape[2] * map_.shape[3] * 9 for map_ in maps]
    split = {name: list(value.split(sizes, dim=1)) for name, value in out.items()}
    found = model.postprocess_detections(split, [list(anchors[0].split(sizes))], [(HEIGHT, WIDTH)])[0]
    return Prediction(found["boxes"][:100], found["scores"][:100], found["labels"][:100])  # ours gives at most 100


@pytest.mark.parametrize(
    ("kind", "build", "infer"),
    [
        ("faster_rcnn", detection.fasterrcnn_resnet50_fpn, faster_rcnn),
        ("retinanet", detection.retinanet_resnet50_fpn, retinanet),
    ],
)
def test_a_torchvision_checkpoint_gives_torchvisions_outputs(
    kind: str,
    build: Callable[..., nn.Module],
    infer: Callable[[nn.Module, torch.Tensor], Prediction],
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    reference = build(weights=None, weights_backbone=None, num_classes=OUTPUTS).eval()
    perturb(reference)
    ours = load(kind, reference, tmp_path)
    images = torch.randn(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = infer(reference, images)
        found = ours.detect(images)[0]
    assert len(expected.scores) > 20
    assert found.labels.tolist() == expected.labels.tolist()
    assert torch.allclose(found.scores, expected.scores, atol=1e-4)
    assert torch.allclose(found.boxes_xyxy, expected.boxes_xyxy, atol=1e-4 * WIDTH)
