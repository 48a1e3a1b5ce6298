"""Our detector and torchvision's, R50-FPN with the same weights, and the same detections of both."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from export_vs_torchvision import make_learnt
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.image_list import ImageList

from deploy import Preprocess
from deploy.data import read_dataset, read_image
from optimizer.arch.families import base_arch
from optimizer.arch.spec import ArchSpec
from optimizer.detectors import Detector, build_detector
from optimizer.supernet.calibrate import recalibrate

__all__ = ["CASES", "KINDS", "Agreement", "Found", "build_pair", "draw_canvas", "match", "r50_arch"]

NUM_CLASSES = 80
KINDS = ("faster_rcnn", "retinanet")
CASES = tuple((kind, size) for size in ((640, 480), (1333, 800)) for kind in KINDS)
MOST = 100  # detections an image


class Found(NamedTuple):
    """Detections of one canvas on the host, best first: boxes_xyxy (N, 4) pixels, scores (N,), labels (N,) from 0."""

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


class Agreement(NamedTuple):
    """How many detections each side gives and how many are the same; the largest differences among these."""

    expected: int
    found: int
    matched: int
    box_px: float
    score: float

    @property
    def share(self) -> float:
        """Of the longer list, 0..1; 1 where both are empty."""
        return self.matched / max(self.expected, self.found, 1) if self.expected or self.found else 1.0


class TorchvisionDetector(nn.Module):
    """torchvision's parts in torchvision's order, on a canvas (1, 3, H, W); its resizing and padding are left out."""

    def __init__(self, model: nn.Module, kind: str) -> None:
        super().__init__()
        self.model, self.kind = model, kind

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and labels from 0."""
        model, sizes = self.model, [(int(images.shape[-2]), int(images.shape[-1]))]
        maps = model.backbone(images)
        if self.kind == "faster_rcnn":
            canvases = ImageList(images, sizes)
            proposals, _ = model.rpn(canvases, maps)
            found = model.roi_heads(maps, proposals, sizes)[0][0]
            return found["boxes"], found["scores"], found["labels"] - 1
        levels = list(maps.values())
        out = model.head(levels)
        anchors = model.anchor_generator(ImageList(images, sizes), levels)
        counts = [level.shape[2] * level.shape[3] * 9 for level in levels]
        split = {name: list(value.split(counts, dim=1)) for name, value in out.items()}
        found = model.postprocess_detections(split, [list(anchors[0].split(counts))], sizes)[0]
        return found["boxes"][:MOST], found["scores"][:MOST], found["labels"][:MOST]


def r50_arch(kind: str, size: tuple[int, int], region_proposals: int = 1000) -> ArchSpec:
    """R50-FPN as torchvision has it: with its anchors at every size. The region proposals are a Faster R-CNN's."""
    arch = base_arch("r50", size, kind, region_proposals if kind == "faster_rcnn" else None)
    return replace(arch, head=replace(arch.head, anchor_scale=8))


def build_pair(
    kind: str, size: tuple[int, int], canvas: np.ndarray, device: torch.device, region_proposals: int = 1000
) -> tuple[Detector, TorchvisionDetector]:
    """Both detectors on the device, in evaluation mode, of random weights that detect as trained ones do."""
    ours = build_detector(r50_arch(kind, size, region_proposals), NUM_CLASSES, seed=0).to(device)
    image = torch.from_numpy(canvas).to(device)
    recalibrate(ours, [image], device)
    make_learnt(ours, image)
    if kind == "faster_rcnn":
        build = partial(detection.fasterrcnn_resnet50_fpn, rpn_post_nms_top_n_test=region_proposals)
        outputs = NUM_CLASSES + 1
    else:
        build, outputs = partial(detection.retinanet_resnet50_fpn), NUM_CLASSES
    theirs = build(weights=None, weights_backbone=None, num_classes=outputs)
    theirs.load_state_dict(ours.state_dict())
    return ours.eval(), TorchvisionDetector(theirs, kind).to(device).eval()


def draw_canvas(size: tuple[int, int], data: Path | None) -> np.ndarray:
    """(1, 3, H, W) float32, normalised: the first image of the data, or smooth random blobs without any."""
    if data is not None:
        record = read_dataset(data, "val").records[0]
        return Preprocess.imagenet(*size)(read_image(record.path, (record.width, record.height)))[0]
    noise = torch.randn(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(noise, (size[1], size[0]), mode="bilinear").numpy()


def match(expected: Found, found: Found, box_px: float, score: float) -> Agreement:
    """Pairs of one label, each coordinate within `box_px` and the score within `score`, one to one, best first."""
    boxes = np.abs(expected.boxes_xyxy[:, None] - found.boxes_xyxy[None]).max(2, initial=0.0)
    scores = np.abs(expected.scores[:, None] - found.scores[None])
    fits = (expected.labels[:, None] == found.labels[None]) & (boxes <= box_px) & (scores <= score)
    pairs: list[tuple[int, int]] = []
    free = np.ones(len(found.scores), bool)
    for row in range(len(expected.scores)):
        near = np.flatnonzero(fits[row] & free)
        if len(near):
            column = int(near[boxes[row, near].argmin()])
            free[column] = False
            pairs.append((row, column))
    return Agreement(
        len(expected.scores),
        len(found.scores),
        len(pairs),
        max((float(boxes[pair]) for pair in pairs), default=0.0),
        max((float(scores[pair]) for pair in pairs), default=0.0),
    )
