"""A record on the training canvas, through the runtime's own preprocessing."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deploy import Preprocess
from deploy.data import Record, read_image
from optimizer.detectors.base import Truth

__all__ = ["normalise_canvas", "place_record"]

MIN_SIDE_PX = 1.0  # on the canvas; what is smaller cannot be learnt


def place_record(record: Record, preprocess: Preprocess) -> tuple[Tensor, Truth]:
    """The uint8 canvas (3, H, W) of a record and its objects on it; crowds and vanished boxes are left out.

    Raises:
        InputError: the image cannot be read.
    """
    image = read_image(record.path)
    canvas = torch.from_numpy(preprocess.canvas(image).transpose(2, 0, 1).copy())
    place = preprocess.place(image.shape[1], image.shape[0])
    boxes = preprocess.boxes_to_canvas(record.boxes_xyxy, place)
    sides = boxes[:, 2:] - boxes[:, :2]
    keep = ~record.crowd & np.all(sides >= MIN_SIDE_PX, axis=1)
    return canvas, Truth(torch.from_numpy(boxes[keep]), torch.from_numpy(record.labels[keep]))


def normalise_canvas(canvas: Tensor, preprocess: Preprocess) -> Tensor:
    """(3, H, W) float32 network input of a uint8 canvas, by the runtime's own arithmetic."""
    return torch.from_numpy(preprocess.normalise(canvas.permute(1, 2, 0).numpy()))
