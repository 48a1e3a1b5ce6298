"""Rows of boxes in pixels of the canvas and class probabilities, as YOLOv5 to YOLOv9, YOLO11 and YOLO26 export them."""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np

from deploy.detections import Detections
from deploy.engines.base import TensorSpec
from deploy.errors import InputError
from deploy.pipeline.nms import Selection, select_best
from deploy.pipeline.yolox import count_cells

__all__ = ["count_yolov5_classes", "count_yolov8_classes", "decode_yolov5", "decode_yolov8"]

ANCHORS = 3  # boxes a cell of YOLOv5
# Low, so that average precision sees the whole curve; the overlap is that of these models' own evaluation.
USUAL_SELECTION = Selection(score_threshold=0.001, iou_threshold=0.7, max_detections=100)


def count_yolov8_classes(outputs: Sequence[TensorSpec], size: tuple[int, int]) -> int:
    """Classes of a model with these outputs on a canvas of (width, height).

    Raises:
        InputError: they are not one [1, 4 + classes, cells], or the same transposed.
    """
    cells = count_cells(size)
    shape = outputs[0].shape if len(outputs) == 1 else ()
    channels = next((shape[axis] for axis in (1, 2) if len(shape) == 3 and shape[3 - axis] == cells), None)
    if shape[:1] != (1,) or channels is None or channels < 5:
        raise InputError(_wanted("yolov8", f"[1, 4 + classes, {cells}]", outputs, size))
    return channels - 4


def decode_yolov8(
    outputs: Mapping[str, np.ndarray], size: tuple[int, int], selection: Selection | None = None
) -> Detections:
    """Of columns cx, cy, width, height in pixels and a probability for each class; NMS class by class.

    Raises:
        InputError: scores that are not probabilities.
    """
    (output,) = outputs.values()
    rows = output[0].astype(np.float32, copy=False)
    if rows.shape[0] != count_cells(size):
        rows = rows.T
    return _select("yolov8", rows[:, :4], rows[:, 4:], selection)


def count_yolov5_classes(outputs: Sequence[TensorSpec], size: tuple[int, int]) -> int:
    """Classes of a model with these outputs on a canvas of (width, height).

    Raises:
        InputError: they are not one [1, 3 boxes a cell, 5 + classes].
    """
    rows = ANCHORS * count_cells(size)
    shape = outputs[0].shape if len(outputs) == 1 else ()
    columns = shape[2] if len(shape) == 3 else None
    if shape[:2] != (1, rows) or columns is None or columns < 6:
        raise InputError(_wanted("yolov5", f"[1, {rows}, 5 + classes]", outputs, size))
    return columns - 5


def decode_yolov5(
    outputs: Mapping[str, np.ndarray], size: tuple[int, int], selection: Selection | None = None
) -> Detections:
    """Of rows cx, cy, width, height in pixels, objectness and a probability for each class; NMS class by class.

    Raises:
        InputError: scores that are not probabilities.
    """
    (output,) = outputs.values()
    rows = output[0].astype(np.float32, copy=False)
    _check_scores("yolov5", rows[:, 4:])
    return _select("yolov5", rows[:, :4], rows[:, 4:5] * rows[:, 5:], selection)


def _select(head: str, boxes_cxcywh: np.ndarray, scores: np.ndarray, selection: Selection | None) -> Detections:
    _check_scores(head, scores)
    chosen = selection or USUAL_SELECTION
    row, label = np.nonzero(scores >= chosen.score_threshold)
    centre, half = boxes_cxcywh[row, :2], boxes_cxcywh[row, 2:] / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    score = scores[row, label]
    kept = select_best(boxes, score, label, chosen.iou_threshold, chosen.max_detections)
    return Detections(boxes[kept], score[kept], label[kept].astype(np.int64))


def _check_scores(head: str, scores: np.ndarray) -> None:
    low, high = scores.min(), scores.max()
    if not (low >= 0 and high <= 1):  # written so that NaN is refused
        raise InputError(
            f"this model's scores go from {low:.3g} to {high:.3g}; a {head} head wants probabilities: export it with "
            "its sigmoids"
        )


def _wanted(head: str, shape: str, outputs: Sequence[TensorSpec], size: tuple[int, int]) -> str:
    found = ", ".join(map(str, outputs))
    return f"a {head} head on {size[0]}x{size[1]} has one output {shape} of fixed shape; this model has {found}"
