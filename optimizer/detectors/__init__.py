"""Detectors built from an `ArchSpec`; the catalogue maps a head's kind to its class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from optimizer.arch.spec import ArchSpec
from optimizer.detectors.base import Detector, GraphOps, Prediction, RegionSample, RegionView, Seen, Truth
from optimizer.detectors.centernet import CenterNet
from optimizer.detectors.faster_rcnn import FasterRCNN
from optimizer.detectors.retinanet import RetinaNet
from optimizer.detectors.tensors import fit_tensors

__all__ = [
    "DETECTORS", "Detector", "GraphOps", "Prediction", "RegionSample", "RegionView", "Seen", "Truth", "build_detector",
    "build_undrawn", "load_detector",
]  # fmt: skip

DETECTORS: dict[str, Callable[[ArchSpec, int], Detector]] = {
    "faster_rcnn": FasterRCNN,
    "retinanet": RetinaNet,
    "centernet": CenterNet,
}


def build_detector(arch: ArchSpec, num_classes: int, seed: int | None = None) -> Detector:
    """The detector of an architecture, in evaluation mode; with `seed`, its first weights depend on that alone."""
    if seed is None:
        return DETECTORS[arch.head.kind](arch, num_classes).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DETECTORS[arch.head.kind](arch, num_classes).eval()


def load_detector(arch: ArchSpec, num_classes: int, weights: Mapping[str, Tensor]) -> Detector:
    """The detector with a copy of exactly these weights, in evaluation mode; no first weights are drawn for it.

    Raises:
        InputError: they are another network's.
    """
    detector = build_undrawn(arch, num_classes, torch.device("cpu"))
    fit_tensors(detector, weights)
    return detector


def build_undrawn(arch: ArchSpec, num_classes: int, device: torch.device) -> Detector:
    """A detector for weights that come from elsewhere, in evaluation mode: its own are whatever was in memory."""
    with _Undrawn(), device:
        return build_detector(arch, num_classes)


class _Undrawn(TorchFunctionMode):
    """Leaves out random numbers, which take most of the time that a large detector takes to build."""

    NAMES = frozenset({"normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_"})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in self.NAMES:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
