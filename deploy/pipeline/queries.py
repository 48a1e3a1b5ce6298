"""Models that need no NMS: each row is an object of its own, as of DETR's kind and of end-to-end YOLO."""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np

from deploy.detections import Detections
from deploy.engines.base import TensorSpec
from deploy.errors import EngineError, InputError
from deploy.pipeline.nms import Selection

__all__ = ["check_end2end", "check_ranked", "count_detr_classes", "decode_detr", "decode_end2end", "decode_ranked"]

USUAL_SELECTION = Selection(score_threshold=0.001, iou_threshold=1.0, max_detections=100)
MOST_ROWS = 5000  # of objects; more are cells of a grid
LOGITS = ("pred_logits", "logits", "labels", "scores")
BOXES = ("pred_boxes", "boxes", "dets")


def check_end2end(outputs: Sequence[TensorSpec], size: tuple[int, int]) -> None:
    """Check that a model answers with rows of objects; its outputs do not say among how many classes.

    Raises:
        InputError: they are not one [1, K, 6].
    """
    shape = outputs[0].shape if len(outputs) == 1 else ()
    if len(shape) != 3 or shape[0] != 1 or shape[2] != 6 or shape[1] is None or not 0 < shape[1] <= MOST_ROWS:
        raise InputError(f"an end2end head has one output [1, K, 6] of fixed shape; this model has {_show(outputs)}")


def decode_end2end(
    outputs: Mapping[str, np.ndarray], size: tuple[int, int], selection: Selection | None = None
) -> Detections:
    """Of rows x1, y1, x2, y2 in pixels of the canvas, score, label: the best above the threshold."""
    (output,) = outputs.values()
    rows = output[0].astype(np.float32, copy=False)
    return _rank("end2end", rows[:, :4], rows[:, 4], rows[:, 5], selection)


def count_detr_classes(outputs: Sequence[TensorSpec], size: tuple[int, int]) -> int:
    """Classes of a model of DETR's kind.

    Raises:
        InputError: there are not logits [1, K, classes] and boxes [1, K, 4], called as these models call them.
    """
    names = _find_pair([spec.name for spec in outputs])
    shapes = {spec.name: spec.shape for spec in outputs}
    logits, boxes = (shapes[name] for name in names) if names else ((), ())
    if len(logits) != 3 or logits[0] != 1 or logits[1] is None or logits[2] is None or boxes != (1, logits[1], 4):
        raise InputError(
            f"a detr head has pred_logits [1, K, classes] and pred_boxes [1, K, 4] of fixed shapes; this model has "
            f"{_show(outputs)}"
        )
    return logits[2]


def decode_detr(
    outputs: Mapping[str, np.ndarray], size: tuple[int, int], selection: Selection | None = None
) -> Detections:
    """Of logits (1, K, classes) and boxes cx, cy, width, height in shares of the canvas, a sigmoid for each class.

    As RT-DETR, D-FINE, RF-DETR and Deformable DETR are trained (Zhu et al. 2021). Of a box each class above the
    threshold counts.
    """
    chosen = selection or USUAL_SELECTION
    names = _find_pair(list(outputs))
    assert names is not None, "the layout was checked when the model was opened"
    logits, boxes = (outputs[name][0].astype(np.float32, copy=False) for name in names)
    if not np.isfinite(logits).all():
        raise EngineError("the model gives scores that are not finite")
    scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
    row, label = np.nonzero(scores > chosen.score_threshold)
    centre, half = boxes[row, :2], boxes[row, 2:] / 2
    corners = np.concatenate([centre - half, centre + half], axis=1) * np.array((*size, *size), np.float32)
    return _rank("detr", corners, scores[row, label], label, chosen)


def check_ranked(outputs: Sequence[TensorSpec], size: tuple[int, int]) -> None:
    """Check that a model answers with objects and without a count; its outputs do not say among how many classes.

    Raises:
        InputError: they are not boxes [1, K, 4], scores [1, K], labels [1, K].
    """
    shapes = {spec.name: spec.shape for spec in outputs}
    rows = shapes.get("scores", ())
    if (
        len(rows) != 2
        or rows[0] != 1
        or rows[1] is None
        or "count" in shapes
        or (shapes.get("boxes") != (*rows, 4) or shapes.get("labels") != rows)
    ):
        raise InputError(
            "a ranked head has boxes [1, K, 4], scores [1, K], labels [1, K] of fixed shapes and no count; this model "
            f"has {_show(outputs)}"
        )


def decode_ranked(
    outputs: Mapping[str, np.ndarray], size: tuple[int, int], selection: Selection | None = None
) -> Detections:
    """Of boxes x1, y1, x2, y2 in pixels of the canvas, scores and labels, in any order: the best of them."""
    boxes, scores, labels = (outputs[name][0] for name in ("boxes", "scores", "labels"))
    return _rank("ranked", boxes.astype(np.float32), scores.astype(np.float32), labels, selection)


def _rank(
    head: str, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, selection: Selection | None
) -> Detections:
    chosen = selection or USUAL_SELECTION
    if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):  # written so that NaN is refused
        raise InputError(
            f"this model's scores go from {scores.min():.3g} to {scores.max():.3g}; a {head} head wants probabilities"
        )
    order = np.argsort(-scores, kind="stable")
    kept = order[scores[order] > chosen.score_threshold][: chosen.max_detections]
    return Detections(boxes[kept], scores[kept], np.rint(labels[kept]).astype(np.int64))


def _find_pair(names: Sequence[str]) -> tuple[str, str] | None:
    """The outputs that hold logits and boxes, where there are just two."""
    logits = next((name for name in LOGITS if name in names), None)
    boxes = next((name for name in BOXES if name in names), None)
    return (logits, boxes) if logits and boxes and len(names) == 2 else None


def _show(outputs: Sequence[TensorSpec]) -> str:
    return ", ".join(map(str, outputs)) or "no outputs"
