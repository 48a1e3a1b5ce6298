"""One map of cells, each with how sure of an object, a box and class probabilities: FastestDet and what is built so."""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np

from deploy.detections import Detections
from deploy.engines.base import TensorSpec
from deploy.errors import InputError
from deploy.pipeline.nms import Selection, select_best

__all__ = ["count_fastestdet_classes", "decode_fastestdet"]

# The score is low, so that average precision sees the whole curve; the overlap is that of the model's own evaluation.
USUAL_SELECTION = Selection(score_threshold=0.001, iou_threshold=0.45, max_detections=100)
OBJECT_SHARE = 0.6  # of the score, as an exponent; the class's is the rest


def count_fastestdet_classes(outputs: Sequence[TensorSpec], size: tuple[int, int]) -> int:
    """Classes of a model with these outputs on a canvas of (width, height).

    Raises:
        InputError: they are not one map [1, 5 + classes, rows, columns] of fixed shape, with square cells of whole
            pixels.
    """
    width, height = size
    shape = outputs[0].shape if len(outputs) == 1 else ()
    channels, rows, columns = (int(side or 0) for side in shape[1:]) if len(shape) == 4 else (0, 0, 0)
    cell = width // columns if columns else 0
    if shape[:1] != (1,) or channels < 6 or (columns * cell, rows * cell) != size or not cell:
        raise InputError(
            f"a fastestdet head on {width}x{height} has one output [1, 5 + classes, rows, columns] of fixed shape and "
            f"square cells; this model has {', '.join(map(str, outputs))}"
        )
    return channels - 5


def decode_fastestdet(
    outputs: Mapping[str, np.ndarray], size: tuple[int, int], selection: Selection | None = None
) -> Detections:
    """Of a probability of an object, x, y, width, height before tanh and sigmoid, and probabilities of classes.

    A centre is up to one cell from its cell's corner, sides are shares of the canvas. The score is the object's to the
    power of 0.6 times the best class's to that of 0.4, and a cell has one class.

    Raises:
        InputError: scores are not probabilities.
    """
    (output,) = outputs.values()
    chosen = selection or USUAL_SELECTION
    planes = output[0].astype(np.float32, copy=False)
    down, across = planes.shape[1:]
    cells = planes.reshape(len(planes), -1).T
    sure = np.delete(cells, range(1, 5), axis=1)
    low, high = sure.min(), sure.max()
    if not (low >= 0 and high <= 1):  # written so that NaN is refused
        raise InputError(
            f"this model's scores go from {low:.3g} to {high:.3g}; a fastestdet head wants probabilities: export it "
            "with its sigmoid and softmax"
        )
    scores = sure[:, 0] ** OBJECT_SHARE * sure[:, 1:].max(axis=1) ** (1 - OBJECT_SHARE)
    kept = np.flatnonzero(scores >= chosen.score_threshold)
    corner = np.stack([kept % across, kept // across], axis=1)
    canvas = np.array(size, np.float32)
    centre = (np.tanh(cells[kept, 1:3]) + corner) / (across, down) * canvas
    half = canvas / (1 + np.exp(-np.clip(cells[kept, 3:5], -80, 80))) / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
    labels = sure[kept, 1:].argmax(axis=1)
    best = select_best(boxes, scores[kept], labels, chosen.iou_threshold, chosen.max_detections)
    return Detections(boxes[best], scores[kept][best].astype(np.float32), labels[best].astype(np.int64))
