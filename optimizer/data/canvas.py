"""A record on the training canvas, through the runtime's own preprocessing."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deploy import Preprocess
from deploy.data import Record, read_image
from optimizer.detectors.base import Truth
from optimizer.errors import InputError

__all__ = ["normalise_canvas", "place_record", "read_record"]

MIN_SIDE_PX = 1.0  # on the canvas; what is smaller cannot be learnt


def read_record(record: Record) -> np.ndarray:
    """The pixels (H, W, 3) uint8 RGB that a record's boxes are for.

    Raises:
        InputError: the image cannot be read, or is not of the size its labels are for.
    """
    image = read_image(record.path, (record.width, record.height))
    if image.shape[:2] != (record.height, record.width):
        found = f"{image.shape[1]}x{image.shape[0]}"
        raise InputError(f"{record.path} is {found}, its labels are for {record.width}x{record.height}")
    return image


def place_record(record: Record, preprocess: Preprocess) -> tuple[Tensor, Truth]:
    """The uint8 canvas (3, H, W) of a record and its objects on it; crowds and vanished boxes are left out.

    Raises:
        InputError: as `read_record`.
    """
    image = read_record(record)
    canvas = torch.from_numpy(preprocess.canvas(image)).permute(2, 0, 1).contiguous()
    boxes = preprocess.boxes_to_canvas(record.boxes_xyxy, preprocess.place(record.width, record.height))
    keep = ~record.crowd & np.all(boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE_PX, axis=1)
    return canvas, Truth(torch.from_numpy(boxes[keep]), torch.from_numpy(record.labels[keep]))


def normalise_canvas(canvas: Tensor, preprocess: Preprocess) -> Tensor:
    """(3, H, W) float32 network input of a uint8 canvas, by the runtime's own arithmetic."""
    return torch.from_numpy(preprocess.normalise(canvas.permute(1, 2, 0).numpy()))
