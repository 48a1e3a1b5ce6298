"""Non-maximum suppression where a model leaves it to its user."""

from __future__ import annotations

from typing import List

import numpy as np

__all__ = ["select_best"]


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
    kept: List[int] = []
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
