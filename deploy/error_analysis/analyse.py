"""The curves of every class, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deploy.data.records import Dataset, ImageId
from deploy.detections import Detections
from deploy.error_analysis.curves import AREAS, POINTS, ErrorAnalysis, ErrorCurves, average_curves
from deploy.error_analysis.supercategories import group_classes
from deploy.errors import InputError
from deploy.evaluate import MAX_DETECTIONS, Progress, collect_rows

__all__ = ["analyse_errors"]

CATEGORY = 1  # one class is evaluated at a time, and this is its id
TIGHT, USUAL, LOOSE = 0.75, 0.5, 0.1  # IoU


def analyse_errors(
    dataset: Dataset,
    results: Iterable[tuple[ImageId, Detections]],
    report: Callable[[str], None] = lambda line: None,
) -> ErrorAnalysis:
    """What mistakes cost (image id, detections in image pixels) over a data set; see `CURVES` for which.

    Where a curve forgives confusions, objects of other classes are ignored: each takes one detection that found no
    object of its own class, by the IoU that all objects have. (To make crowds of them, as some do, gives other figures:
    a crowd takes any number of detections, and overlaps a box inside it fully.) Crowds and difficult objects are
    ignored as in average precision, and the best 100 detections of an image and class count. Memory is that of all
    boxes as numbers, and of one class at a time as pycocotools has it.

    Raises:
        InputError: the data set has no object.
    """
    if not dataset.count_objects():
        raise InputError(f"there is no object in {len(dataset.records)} images, so there are no errors to analyse")
    rows = collect_rows(dataset, results)
    objects = _list_objects(dataset)
    counts = objects.count(len(dataset.class_names))
    parents, grouped_by = group_classes(dataset)
    classes = []
    for label, name in enumerate(dataset.class_names):
        report(Progress(f"errors of class {label + 1} of {len(dataset.class_names)}"))
        similar = [other for other, parent in enumerate(parents) if parent == parents[label]]
        precision = np.zeros((5, POINTS, len(AREAS)))
        if counts[label, 0]:
            precision = _find_precision(objects, rows[rows[:, 6] == label + 1], label, similar)
        classes.append(ErrorCurves(name, tuple(counts[label].tolist()), _complete(precision)))
    members: dict[str, list[ErrorCurves]] = {}
    for parent, curves in zip(parents, classes):
        members.setdefault(parent, []).append(curves)
    supercategories = tuple(average_curves(parent, among) for parent, among in members.items())
    overall = average_curves("all classes", classes)
    return ErrorAnalysis(overall, supercategories, tuple(classes), parents, grouped_by, len(rows))


@dataclass(frozen=True)
class _Objects:
    """N objects of all images, in columns; images are numbered by their position."""

    images: np.ndarray
    labels: np.ndarray
    boxes_xywh: np.ndarray
    crowd: np.ndarray
    counted: np.ndarray

    @property
    def areas(self) -> np.ndarray:
        areas: np.ndarray = self.boxes_xywh[:, 2] * self.boxes_xywh[:, 3]
        return areas

    def select(self, chosen: np.ndarray) -> _Objects:
        """Those where `chosen`, (N,) bool, is true."""
        columns = (self.images, self.labels, self.boxes_xywh, self.crowd, self.counted)
        return _Objects(*(column[chosen] for column in columns))

    def count(self, classes: int) -> np.ndarray:
        """(classes, areas): how many are to be found."""
        counts = []
        for low, high in AREAS.values():
            inside = self.counted & (self.areas >= low) & (self.areas <= high)
            counts.append(np.bincount(self.labels[inside], minlength=classes))
        return np.stack(counts, axis=1)


def _list_objects(dataset: Dataset) -> _Objects:
    records = dataset.records
    boxes = np.concatenate([np.zeros((0, 4)), *(record.boxes_xyxy for record in records)])  # in float64
    boxes[:, 2:] -= boxes[:, :2]
    return _Objects(
        np.repeat(np.arange(len(records)), [len(record.labels) for record in records]),
        np.concatenate([record.labels for record in records]),
        boxes,
        np.concatenate([record.crowd for record in records]),
        np.concatenate([record.counted for record in records]),
    )


def _find_precision(objects: _Objects, found: np.ndarray, label: int, similar: Sequence[int]) -> np.ndarray:
    """(C75 to Oth, 101, areas) of one class, whose detections are the rows of `found`; -1 where it has no object."""
    own = objects.labels == label
    near = np.isin(objects.images, found[:, 0])  # on other images there is nothing to forgive
    confused = near & np.isin(objects.labels, similar)
    plain = _evaluate(objects.select(own), found, label, (TIGHT, USUAL, LOOSE))
    without_similar = _evaluate(objects.select(own | confused), found, label, (LOOSE,))
    without_any = _evaluate(objects.select(own | near), found, label, (LOOSE,))
    return np.concatenate([plain, without_similar, without_any])


def _evaluate(objects: _Objects, found: np.ndarray, label: int, thresholds: Sequence[float]) -> np.ndarray:
    """(IoU thresholds, 101, areas): the precision of the rows of `found`; objects of other labels are ignored."""
    evaluation = _make_evaluation()
    ignored = (objects.labels != label) | ~objects.counted
    columns = (objects.images, objects.boxes_xywh, objects.areas, objects.crowd, ignored)
    for number, (image, box, area, *marks) in enumerate(zip(*(column.tolist() for column in columns)), start=1):
        crowd, ignore = map(int, marks)
        entry = {"id": number, "bbox": box, "area": area, "iscrowd": crowd, "ignore": ignore}
        evaluation._gts[image, CATEGORY].append(entry)
    for number, (image, x, y, width, height, score, _) in enumerate(found.tolist(), start=1):
        entry = {"id": number, "bbox": [x, y, width, height], "area": width * height, "score": score}
        evaluation._dts[int(image), CATEGORY].append(entry)
    params = evaluation.params
    params.imgIds = np.union1d(objects.images, found[:, 0].astype(np.int64)).tolist()
    params.catIds, params.iouThrs, params.maxDets = [CATEGORY], list(thresholds), [MAX_DETECTIONS]
    params.areaRng, params.areaRngLbl = [list(bounds) for bounds in AREAS.values()], list(AREAS)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
    precision: np.ndarray = evaluation.eval["precision"][:, :, 0, :, 0]
    return precision


def _make_evaluation() -> Any:
    """pycocotools' evaluation of what is put into its `_gts` and `_dts`, by (image, category), with their own marks."""
    from pycocotools.cocoeval import COCOeval

    class Evaluation(COCOeval):  # type: ignore[misc]
        def _prepare(self) -> None:
            """Nothing is looked up, and `ignore` stays what it is: the original sets it to `iscrowd`."""

    return Evaluation(iouType="bbox")


def _complete(precision: np.ndarray) -> np.ndarray:
    """(areas, all curves, 101) of (C75 to Oth, 101, areas)."""
    known = np.maximum(precision, 0)  # -1: no object
    background = (known[-1:] > 0).astype(float)
    complete: np.ndarray = np.concatenate([known, background, np.ones_like(background)]).transpose(2, 0, 1)
    return complete
