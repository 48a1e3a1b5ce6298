"""Augmentation on the canvas, by torchvision's transforms.v2."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from deploy import Preprocess
from optimizer.detectors.base import Truth

__all__ = ["AUGMENTATIONS", "augment"]

MIN_SIDE_PX = 2.0  # of a box after a zoom


def _light(preprocess: Preprocess) -> v2.Transform:
    """Mirror and mild changes of colour."""
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(0.5),
            v2.RandomApply([v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02)], p=0.5),
        ]
    )


def _strong(preprocess: Preprocess) -> v2.Transform:
    """Mirror, changes of colour, and a shift and zoom that leaves some objects outside."""
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(0.5),
            v2.RandomApply([v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05)], p=0.5),
            v2.RandomAffine(degrees=0, translate=(0.1, 0.1), scale=(0.8, 1.25), fill=list(preprocess.pad)),
            v2.ClampBoundingBoxes(),
            v2.SanitizeBoundingBoxes(min_size=MIN_SIDE_PX),
        ]
    )


AUGMENTATIONS: dict[str, Callable[[Preprocess], v2.Transform] | None] = {
    "none": None,
    "light": _light,
    "strong": _strong,
}


def augment(canvas: Tensor, truth: Truth, transform: v2.Transform, seed: int) -> tuple[Tensor, Truth]:
    """A changed copy of a uint8 canvas (3, H, W) and its objects; depends on `seed` alone.

    torchvision's transforms draw from torch's global CPU generator: it is seeded for the call and put back after it.
    """
    sample = {
        "image": tv_tensors.Image(canvas),
        "boxes": tv_tensors.BoundingBoxes(truth.boxes_xyxy, format="XYXY", canvas_size=tuple(canvas.shape[-2:])),
        "labels": truth.labels,
    }
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs' generators too
        changed = transform(sample)
    return changed["image"].as_subclass(Tensor), Truth(changed["boxes"].as_subclass(Tensor), changed["labels"])
