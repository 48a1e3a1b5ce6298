"""COCO's average precision of detections, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from deploy.data.images import ImageFile
from deploy.data.records import Dataset, ImageId
from deploy.detections import Detections
from deploy.errors import InputError
from deploy.pipeline.decode import check_labels
from deploy.pipeline.model import ModelSource
from deploy.targets.base import Target

__all__ = [
    "MAX_DETECTIONS",
    "AveragePrecision",
    "Progress",
    "collect_rows",
    "evaluate_artefact",
    "evaluate_detections",
    "judge_artefact",
    "match_classes",
]

Judged = TypeVar("Judged")

MAX_DETECTIONS = 100  # of an image and class, as in COCO's protocol


class Progress(str):
    """A report of how far a step has come; the next one takes its place."""


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's box figures, 0..1; None where the data set has no object of that kind.

    Sizes are those of the boxes; COCO's own go by the outline's area, which other label formats do not have.

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


def evaluate_detections(
    dataset: Dataset, results: Iterable[tuple[ImageId, Detections]], max_detections: int = MAX_DETECTIONS
) -> AveragePrecision:
    """Average precision of (image id, detections in image pixels) over a data set; crowds are ignored regions.

    Objects marked difficult are neither found nor missed.

    The best `max_detections` of an image and class count; COCO's protocol has 100.
    An image without a result counts as one where nothing was detected.

    Raises:
        InputError: the data set has no object, so that there is no average precision.
    """
    if not dataset.count_objects():
        raise InputError(f"there is no object in {len(dataset.records)} images, so no average precision to compute")
    detections = collect_rows(dataset, results)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _index(_coco_from_dataset(dataset))
        found = truth.loadRes(detections) if len(detections) else _index({**truth.dataset, "annotations": []})
        evaluation = _evaluation(truth, found)
        evaluation.params.maxDets = [max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, :, -1]  # IoU, recall, class, size, and that many detections
    ap, ap50, ap75 = (_mean(precision[rows, :, :, 0]) for rows in (slice(None), slice(0, 1), slice(5, 6)))
    assert ap is not None and ap50 is not None and ap75 is not None
    small, medium, large = (_mean(precision[:, :, :, size]) for size in (1, 2, 3))
    by_class = tuple(_mean(precision[:, :, label, 0]) for label in range(precision.shape[2]))
    return AveragePrecision(ap, ap50, ap75, small, medium, large, by_class)


def _mean(precision: np.ndarray) -> float | None:
    """The mean over what there is; -1 stands for what the data set does not have."""
    there = precision[precision > -1]
    return float(there.mean()) if there.size else None


def match_classes(class_names: Sequence[str], dataset: Dataset) -> np.ndarray:
    """The data set's label of each class that a model names, matched by name; -1 for one that the data does not have.

    Raises:
        InputError: the data set has a class that the model does not name.
    """
    unknown = [name for name in dataset.class_names if name not in class_names]
    if unknown:
        raise InputError(
            f"the data has classes that the bundle does not detect: {', '.join(unknown)}; "
            f"it detects {', '.join(class_names)}"
        )
    labels = [dataset.class_names.index(name) if name in dataset.class_names else -1 for name in class_names]
    return np.array(labels, np.int64)


def evaluate_artefact(
    source: ModelSource,
    class_names: Sequence[str],
    dataset: Dataset,
    target: Target,
    report: Callable[[str], None] = lambda line: None,
    max_detections: int = MAX_DETECTIONS,
) -> tuple[AveragePrecision, list[Path]]:
    """Average precision of a model file on a target, by the engine that runs it there, and images it could not read.

    Such an image counts as one where nothing was detected.

    Raises:
        InputError: as `match_classes`; or the model cannot be loaded.
        EngineError: it detects a class that is not named. BoardError: the target failed.
    """

    def judge(results: Iterable[tuple[ImageId, Detections]]) -> AveragePrecision:
        return evaluate_detections(dataset, results, max_detections)

    return judge_artefact(source, class_names, dataset, target, judge, report)


def judge_artefact(
    source: ModelSource,
    class_names: Sequence[str],
    dataset: Dataset,
    target: Target,
    judge: Callable[[Iterator[tuple[ImageId, Detections]]], Judged],
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Judged, list[Path]]:
    """What `judge` says of all detections of a model file on a target, and images it could not read.

    It is given (image id, detections with the data set's labels) of each image as they come, and takes them all.

    Raises:
        InputError, EngineError, BoardError: as `evaluate_artefact`.
    """
    label_of = match_classes(class_names, dataset)
    images = [ImageFile(record.path, (record.width, record.height)) for record in dataset.records]
    unread = dict(enumerate(image.path for image in images))

    def detect_all() -> Iterator[tuple[ImageId, Detections]]:
        for position, found, _ in target.detect(source, images, report):
            report(Progress(f"image {position + 1} of {len(images)}"))
            del unread[position]
            check_labels(found, class_names)
            labels, image_id = label_of[found.labels], dataset.records[position].image_id
            known = labels >= 0
            yield image_id, Detections(found.boxes_xyxy[known], found.scores[known], labels[known])

    return judge(detect_all()), list(unread.values())


def collect_rows(dataset: Dataset, results: Iterable[tuple[ImageId, Detections]]) -> np.ndarray:
    """(N, 7) rows of image, x, y, width, height, score, category, as pycocotools takes them.

    Images are numbered by their position: their ids may be text, or numbers beyond what a float64 holds. A category is
    the label plus 1.
    """
    position_of = {record.image_id: position for position, record in enumerate(dataset.records)}
    assert len(position_of) == len(dataset.records), "each image has an id of its own"
    rows = [_rows_of(position_of[image_id], found) for image_id, found in results]
    return np.concatenate([np.zeros((0, 7)), *rows])


def _rows_of(position: int, found: Detections) -> np.ndarray:
    rows = np.empty((len(found), 7))
    rows[:, 0] = position
    rows[:, 1:3] = found.boxes_xyxy[:, :2]
    rows[:, 3:5] = found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]
    rows[:, 5] = found.scores
    rows[:, 6] = found.labels + 1
    return rows


def _coco_from_dataset(dataset: Dataset) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for position, record in enumerate(dataset.records):
        marks = (record.crowd.tolist(), (~record.counted).tolist())
        for box, label, crowd, ignored in zip(record.boxes_xyxy.tolist(), record.labels.tolist(), *marks):
            width, height = box[2] - box[0], box[3] - box[1]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": position,
                    "category_id": label + 1,
                    "bbox": [box[0], box[1], width, height],
                    "area": width * height,
                    "iscrowd": int(crowd),
                    "ignored": int(ignored),
                }
            )
    return {
        "info": {},
        "images": [{"id": position} for position in range(len(dataset.records))],
        "annotations": annotations,
        "categories": [{"id": index + 1, "name": name} for index, name in enumerate(dataset.class_names)],
    }


def _evaluation(truth: Any, found: Any) -> Any:
    """pycocotools' evaluation, which ignores difficult objects too, with the IoU that all objects but crowds have."""
    from pycocotools.cocoeval import COCOeval

    class Evaluation(COCOeval):  # type: ignore[misc]
        def _prepare(self) -> None:
            super()._prepare()
            for objects in self._gts.values():
                for item in objects:
                    item["ignore"] = item["ignored"]

    return Evaluation(truth, found, "bbox")


def _index(content: dict[str, Any]) -> Any:
    """pycocotools' own object of what a COCO file would hold."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = content
    coco.createIndex()
    return coco
