"""What a YOLOX model says: for each cell of three grids a box relative to it, how sure of an object, of each class."""

from __future__ import annotations

from functools import lru_cache
from typing import Mapping, Sequence

import numpy as np

from deploy.detections import Detections
from deploy.engines.base import TensorSpec
from deploy.errors import InputError
from deploy.pipeline.nms import Selection, select_best

__all__ = ["count_cells", "count_yolox_classes", "decode_yolox"]

STRIDES = (8, 16, 32)
# The score is so low that average precision sees the whole curve, and a user's own threshold comes later; the overlap
# is that of YOLOX's own evaluation, the number of detections COCO's.
USUAL_SELECTION = Selection(score_threshold=0.001, iou_threshold=0.65, max_detections=100)
MAX_LOG_SIZE = 16.0  # exp(16) cells are no box on any canvas


def count_cells(size: tuple[int, int]) -> int:
    """Cells of the grids of strides 8, 16 and 32 on a canvas of (width, height)."""
    return sum((size[0] // stride) * (size[1] // stride) for stride in STRIDES)


def count_yolox_classes(outputs: Sequence[TensorSpec], size: tuple[int, int]) -> int:
    """Classes of a model with these outputs on a canvas of (width, height).

    Raises:
        InputError: they are not one (1, cells, 5 + classes) of fixed shape, or the canvas is not cut into whole cells.
    """
    width, height = size
    if width % STRIDES[-1] or height % STRIDES[-1]:
        raise InputError(f"a yolox head needs a canvas of multiples of {STRIDES[-1]}; this is {width}x{height}")
    cells = len(_lay_grid(size)[0])
    shape = outputs[0].shape if len(outputs) == 1 else ()
    columns = shape[2] if len(shape) == 3 else None
    if shape[:2] != (1, cells) or columns is None or columns < 6:
        found = ", ".join(map(str, outputs))
        raise InputError(
            f"a yolox head on {width}x{height} has one output [1, {cells}, 5 + classes] of fixed shape; this model has "
            f"{found}"
        )
    return columns - 5


def decode_yolox(
    outputs: Mapping[str, np.ndarray], size: tuple[int, int], selection: Selection | None = None
) -> Detections:
    """Of rows x, y, log width, log height in cells, objectness, a probability for each class (Ge et al. 2021).

    A row counts for every class whose objectness times probability is at least 0.001; non-maximum suppression runs
    class by class, and the best 100 remain, unless another selection is given.

    Raises:
        InputError: scores are not probabilities, or sizes are not logarithms: the model was exported another way.
    """
    chosen = selection or USUAL_SELECTION
    (output,) = outputs.values()
    rows = output[0].astype(np.float32, copy=False)
    _check_values(rows)
    corner, stride = _lay_grid(size)
    scores = rows[:, 4:5] * rows[:, 5:]
    cell, label = np.nonzero(scores >= chosen.score_threshold)
    centre = (rows[cell, :2] + corner[cell]) * stride[cell]
    half = np.exp(rows[cell, 2:4]) * stride[cell] / 2
    boxes_xyxy = np.concatenate([centre - half, centre + half], axis=1)
    score = scores[cell, label]
    kept = select_best(boxes_xyxy, score, label, chosen.iou_threshold, chosen.max_detections)
    return Detections(boxes_xyxy[kept], score[kept], label[kept].astype(np.int64))


@lru_cache(maxsize=8)
def _lay_grid(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) column and row of each cell in its grid, and (N, 1) its side in pixels; finest grid first, row by row."""
    corners, strides = [], []
    for stride in STRIDES:
        across, down = np.meshgrid(np.arange(size[0] // stride), np.arange(size[1] // stride))
        corners.append(np.stack([across, down], axis=2).reshape(-1, 2))
        strides.append(np.full((across.size, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _check_values(rows: np.ndarray) -> None:
    low, high = rows[:, 4:].min(), rows[:, 4:].max()
    if not (low >= 0 and high <= 1):  # written so that NaN is refused
        raise InputError(
            f"this model's scores go from {low:.3g} to {high:.3g}; a yolox head wants probabilities: export it "
            "with its "
            "sigmoids"
        )
    largest = rows[:, 2:4].max()
    if not largest <= MAX_LOG_SIZE:
        raise InputError(
            f"this model's box sizes reach {largest:.3g}, where a yolox head has logarithms: export it without "
            "decoding its "
            "boxes"
        )
