"""COCO's average precision of detections, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from deploy.data.records import Dataset
from deploy.detections import Detections

__all__ = ["AveragePrecision", "evaluate_detections"]


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's box figures, 0..1; None where the data set has no object of that kind.

    Attributes:
        ap: mean over IoU 0.50 to 0.95; ap50, ap75: at one IoU.
        ap_small, ap_medium, ap_large: of objects under 32^2, between, and over 96^2 pixels.
        by_class: `ap` of each class, in the data set's order.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    by_class: tuple[float | None, ...]


def evaluate_detections(dataset: Dataset, results: Iterable[tuple[int, Detections]]) -> AveragePrecision:
    """Average precision of (image id, detections in image pixels) over a data set; crowds are ignored regions."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rows = [_rows_of(image_id, found) for image_id, found in results]
    detections = np.concatenate(rows) if rows else np.zeros((0, 7))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = _coco_from_dataset(dataset)
        truth.createIndex()
        if not len(detections):
            return AveragePrecision(0.0, 0.0, 0.0, None, None, None, (None,) * len(dataset.class_names))
        evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = [float(value) if value >= 0 else None for value in evaluation.stats]
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # IoU, recall, class, all areas, 100 detections
    by_class = []
    for index in range(precision.shape[2]):
        valid = precision[:, :, index][precision[:, :, index] > -1]
        by_class.append(float(valid.mean()) if valid.size else None)
    return AveragePrecision(
        stats[0] or 0.0, stats[1] or 0.0, stats[2] or 0.0, stats[3], stats[4], stats[5], tuple(by_class)
    )


def _rows_of(image_id: int, found: Detections) -> np.ndarray:
    """(N, 7) rows of image id, x, y, width, height, score, category id, as pycocotools takes them."""
    rows = np.empty((len(found), 7))
    rows[:, 0] = image_id
    rows[:, 1:3] = found.boxes_xyxy[:, :2]
    rows[:, 3:5] = found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]
    rows[:, 5] = found.scores
    rows[:, 6] = found.labels + 1
    return rows


def _coco_from_dataset(dataset: Dataset) -> dict[str, object]:
    annotations: list[dict[str, object]] = []
    for record in dataset.records:
        for box, label, crowd in zip(record.boxes_xyxy.tolist(), record.labels.tolist(), record.crowd.tolist()):
            width, height = box[2] - box[0], box[3] - box[1]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": record.image_id,
                    "category_id": label + 1,
                    "bbox": [box[0], box[1], width, height],
                    "area": width * height,
                    "iscrowd": int(crowd),
                }
            )
    return {
        "info": {},
        "images": [{"id": record.image_id} for record in dataset.records],
        "annotations": annotations,
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(dataset.class_names)],
    }
