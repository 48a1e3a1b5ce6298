"""Box arithmetic with fixed shapes, equal to torchvision's."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

__all__ = ["big_enough", "clip_boxes", "decode_boxes", "list_canvases", "precise_sigmoid"]

MAX_LOG_SCALE = math.log(1000.0 / 16)  # torchvision's bound on growing boxes


def decode_boxes(
    deltas: Tensor, anchors: Tensor, weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0), axis: int = -1
) -> Tensor:
    """Boxes xyxy of regression outputs, as torchvision's `BoxCoder` decodes them.

    The four numbers of a box lie along ``axis``; the other sizes broadcast. In an exported graph the first axis is the
    fast one for large sets: each coordinate is then one contiguous plane.
    """
    low, high = anchors.chunk(2, axis)
    size = high - low
    centre = low + 0.5 * size
    shift, scale = (deltas / _along(axis, deltas, weights)).chunk(2, axis)
    middle = shift * size + centre
    half = 0.5 * torch.exp(scale.clamp(max=MAX_LOG_SCALE)) * size
    return torch.cat((middle - half, middle + half), axis)


def clip_boxes(boxes: Tensor, width: int, height: int, axis: int = -1) -> Tensor:
    """Boxes inside the canvas."""
    return torch.minimum(boxes.clamp(min=0), _along(axis, boxes, (width, height, width, height)))


def big_enough(boxes: Tensor, side: float, axis: int = -1) -> Tensor:
    """1 for boxes whose sides are both at least `side` pixels, else 0."""
    low, high = boxes.chunk(2, axis)
    return ((high - low).amin(axis) >= side).to(boxes.dtype)


def precise_sigmoid(logits: Tensor) -> Tensor:
    """The sigmoid, with the relative precision of the exponential.

    ONNX Runtime's Sigmoid is off by up to 8e-8, by which region proposals that are all unlikely change places.
    """
    small = torch.exp(torch.minimum(logits, -logits))
    return torch.where(logits < 0, small, torch.ones_like(small)) / (1 + small)


def list_canvases(images: Tensor) -> ImageList:
    """A batch of canvases as torchvision's parts want it."""
    return ImageList(images, [(images.shape[-2], images.shape[-1])] * len(images))


def _along(axis: int, like: Tensor, values: tuple[float, ...]) -> Tensor:
    shape = [1] * like.ndim
    shape[axis] = len(values)
    return like.new_tensor(values).reshape(shape)
