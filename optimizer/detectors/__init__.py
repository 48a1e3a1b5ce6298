"""Detectors built from an `ArchSpec`; the catalogue maps a head's kind to its class."""

from __future__ import annotations

from collections.abc import Callable

import torch

from optimizer.arch.spec import ArchSpec
from optimizer.detectors.base import Detector, GraphOps, Prediction, RegionView, Truth
from optimizer.detectors.faster_rcnn import FasterRCNN
from optimizer.detectors.retinanet import RetinaNet

__all__ = ["DETECTORS", "Detector", "GraphOps", "Prediction", "RegionView", "Truth", "build_detector"]

DETECTORS: dict[str, Callable[[ArchSpec, int], Detector]] = {"faster_rcnn": FasterRCNN, "retinanet": RetinaNet}


def build_detector(arch: ArchSpec, num_classes: int, seed: int | None = None) -> Detector:
    """The detector of an architecture, in evaluation mode; with `seed`, its first weights depend on that alone."""
    if seed is None:
        return DETECTORS[arch.head.kind](arch, num_classes).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DETECTORS[arch.head.kind](arch, num_classes).eval()
