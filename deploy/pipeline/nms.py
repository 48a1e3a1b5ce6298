"""Non-maximum suppression where a model leaves it to its user."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Mapping

import numpy as np

__all__ = ["Selection", "parse_selection", "select_best"]


@dataclass(frozen=True)
class Selection:
    """Which of a model's candidates are objects, where that is not decided in its graph.

    Attributes:
        score_threshold: of scores in 0..1; a candidate below it is no object.
        iou_threshold: a better box of the same class drops one that it overlaps by more than this.
        max_detections: the best so many of what is left.
    """

    score_threshold: float
    iou_threshold: float
    max_detections: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def parse_selection(value: Mapping[str, Any] | None) -> Selection | None:
    """The inverse of `Selection.to_json`; None stays None. A `ValueError`, `KeyError` or `TypeError` otherwise."""
    if value is None:
        return None
    score, iou, most = float(value["score_threshold"]), float(value["iou_threshold"]), int(value["max_detections"])
    if not (0 <= score < 1 and 0 < iou <= 1 and most > 0):
        raise ValueError(f"a selection has thresholds in 0..1 and a positive number of detections: {value}")
    return Selection(score, iou, most)


def select_best(
    boxes_xyxy: np.ndarray, scores: np.ndarray, labels: np.ndarray, iou_threshold: float, limit: int
) -> np.ndarray:
    """Indices of at most ``limit`` boxes, best first, that overlap no better one of their class.

    Greedy, class by class: a kept box drops what overlaps it by more than ``iou_threshold``. Of equal scores the first
    one counts as better.
    """
    order = np.argsort(-scores, kind="stable")
    area = (boxes_xyxy[:, 2] - boxes_xyxy[:, 0]) * (boxes_xyxy[:, 3] - boxes_xyxy[:, 1])
    left = {label: order[labels[order] == label] for label in np.unique(labels).tolist()}  # of each class, best first
    dropped = np.zeros(len(scores), bool)
    kept: list[int] = []
    for best in order.tolist():
        if len(kept) == limit:
            break
        if dropped[best]:
            continue
        kept.append(best)
        label = int(labels[best])
        rest = left[label][1:]
        corner = np.maximum(boxes_xyxy[rest, :2], boxes_xyxy[best, :2])
        sides = np.maximum(np.minimum(boxes_xyxy[rest, 2:], boxes_xyxy[best, 2:]) - corner, 0)
        shared = sides[:, 0] * sides[:, 1]
        overlaps = shared > iou_threshold * (area[rest] + area[best] - shared)
        dropped[rest[overlaps]] = True
        left[label] = rest[~overlaps]
    return np.array(kept, np.int64)
