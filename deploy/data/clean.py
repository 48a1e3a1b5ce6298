"""The one place where what a label file states becomes a `Record`, or a `Problem`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deploy.data.images import image_size
from deploy.data.records import Problem, Record
from deploy.errors import InputError

__all__ = ["RawObject", "RawRecord", "clean_records", "inside"]

DOUBLED_IOU = 0.9  # two boxes of a class that overlap more are most likely one object drawn twice


@dataclass(frozen=True)
class RawObject:
    """An object as a label file states it, unchecked; `index` as in `Problem`, `label` None for an unknown class."""

    index: int
    box_xyxy: tuple[float, float, float, float]
    label: int | None
    class_name: str
    crowd: bool = False


@dataclass(frozen=True)
class RawRecord:
    """An image as a label file states it, unchecked; a size of None is read from the image's header."""

    image_id: int
    path: Path
    label_file: Path
    size: tuple[int, int] | None
    objects: tuple[RawObject, ...]


def clean_records(raws: Iterable[RawRecord]) -> tuple[tuple[Record, ...], list[Problem]]:
    """The usable parts of raw records, and what was dropped or clipped."""
    records, problems = [], []
    for raw in raws:
        record, found = _clean_record(raw)
        problems += found
        if record is not None:
            records.append(record)
    return tuple(records), problems


def inside(folder: Path, name: str) -> Path | None:
    """`folder / name` where the name does not lead out of the folder, else None.

    Names are judged, not what links point to: a link was put there by whoever owns the folder.
    """
    relative = os.path.normpath(name)
    leads_out = Path(relative).is_absolute() or relative == "." or Path(relative).parts[0] == ".." or "\0" in relative
    return None if leads_out else folder / relative


def _clean_record(raw: RawRecord) -> tuple[Record | None, list[Problem]]:
    if not raw.path.is_file():
        return None, [Problem(raw.path, None, "missing image", "the image does not exist", "skipped")]
    size = raw.size
    if size is None or min(size) < 1:
        try:
            size = image_size(raw.path)
        except InputError as error:
            return None, [Problem(raw.path, None, "unreadable image", str(error), "skipped")]
    boxes: list[tuple[float, float, float, float]] = []
    labels: list[int] = []
    crowds: list[bool] = []
    indices: list[int] = []
    problems: list[Problem] = []
    seen: set[tuple[object, ...]] = set()
    where = "" if raw.label_file.stem == raw.path.stem else f"{raw.path.name}: "
    for item in raw.objects:
        box = _clip(item.box_xyxy, size)
        kind, text, action = _judge(item, box, size, seen)
        if kind:
            problems.append(Problem(raw.label_file, item.index, kind, where + text, action))
        if action == "skipped":
            continue
        assert item.label is not None
        seen.add((item.box_xyxy, item.label, item.crowd))
        boxes.append(box)
        labels.append(item.label)
        crowds.append(item.crowd)
        indices.append(item.index)
    corners, classes = np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64)
    for first, second, iou in _find_doubles(corners, classes):
        text = f"{where}nearly the same box as object {indices[first]} of the same class (IoU {iou:.2f})"
        problems.append(Problem(raw.label_file, indices[second], "doubled box", text, "kept"))
    return Record(raw.image_id, raw.path, *size, corners, classes, np.array(crowds, bool)), problems


def _clip(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The part of a box inside the image, in the precision boxes are kept in."""
    x1, y1, x2, y2 = (float(np.float32(min(max(value, 0.0), limit))) for value, limit in zip(box, (*size, *size)))
    return x1, y1, x2, y2


def _judge(
    item: RawObject, clipped: tuple[float, float, float, float], size: tuple[int, int], seen: set[tuple[object, ...]]
) -> tuple[str, str, str]:
    """(kind, text, action) of what is wrong with an object; empty texts where nothing is."""
    x1, y1, x2, y2 = item.box_xyxy
    if item.label is None:
        return "unknown class", f"class {item.class_name!r} is not among the data set's classes", "skipped"
    if not all(map(math.isfinite, item.box_xyxy)):
        return "not a number", f"box {_show(item)} is not finite", "skipped"
    if x2 < x1 or y2 < y1:
        return "inverted box", f"box {_show(item)} has its corners exchanged", "skipped"
    if x2 == x1 or y2 == y1:
        return "zero-area box", f"box {_show(item)} has no area", "skipped"
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        return "box outside", f"box {_show(item)} has no part in the image of {size[0]}x{size[1]}", "skipped"
    if (item.box_xyxy, item.label, item.crowd) in seen:
        return "duplicate box", f"box {_show(item)} of class {item.class_name!r} is there twice", "skipped"
    if item.crowd:
        return "crowd", f"box {_show(item)} is a crowd", "kept for evaluation only"
    if x1 < 0 or y1 < 0 or x2 > size[0] or y2 > size[1]:
        return "box over the edge", f"box {_show(item)} leaves the image of {size[0]}x{size[1]}", "clipped"
    return "", "", ""


def _find_doubles(boxes: np.ndarray, labels: np.ndarray) -> list[tuple[int, int, float]]:
    """Pairs of boxes of one class that overlap almost entirely, as (earlier, later, IoU)."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    pairs = []
    for first in range(len(boxes) - 1):
        rest = slice(first + 1, None)
        low = np.maximum(boxes[first, :2], boxes[rest, :2])
        high = np.minimum(boxes[first, 2:], boxes[rest, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        iou = shared / (areas[first] + areas[rest] - shared)
        doubled = np.flatnonzero((iou > DOUBLED_IOU) & (labels[rest] == labels[first]))
        pairs += [(first, first + 1 + int(offset), float(iou[offset])) for offset in doubled]
    return pairs


def _show(item: RawObject) -> str:
    return "({:g}, {:g}, {:g}, {:g})".format(*item.box_xyxy)
