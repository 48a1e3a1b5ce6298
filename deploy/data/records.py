"""Labelled images as every reader returns them, and the one place where what a label file states is checked."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deploy.data.images import image_size
from deploy.errors import InputError

__all__ = ["Dataset", "Problem", "RawObject", "RawRecord", "Record", "clean_records", "inside"]


@dataclass(frozen=True)
class Problem:
    """Something in a data set that is not as it should be, and what is done about it.

    Attributes:
        file: the image, or the label file where an object is meant.
        object: which object of the label file, counted from 0 (YOLO: which line); None where the whole file is meant.
        action: "skipped", "clipped", or a few words such as "kept for evaluation only".
    """

    file: Path
    object: int | None
    kind: str
    text: str
    action: str


@dataclass(frozen=True)
class Record:
    """One image and its objects.

    Attributes:
        width, height: as the labels state them; of the file where they do not. See `read_image` about rotated photos.
        boxes_xyxy: (N, 4) float32 pixels of the image, inside it, with positive sides.
        labels: (N,) int64, index into the data set's class names.
        crowd: (N,) bool; crowds are ignored regions in evaluation and not trained on.
    """

    image_id: int
    path: Path
    width: int
    height: int
    boxes_xyxy: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """Records of one split, the names of all classes, and what was found wrong on the way."""

    class_names: tuple[str, ...]
    records: tuple[Record, ...]
    problems: tuple[Problem, ...]

    def first(self, count: int) -> Dataset:
        """The same with at most `count` records."""
        return replace(self, records=self.records[:count])

    def count_objects(self) -> int:
        """Objects of all records, crowds not counted."""
        return sum(int(np.count_nonzero(~record.crowd)) for record in self.records)


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

    Names are compared, not what links point to: a link was put there by whoever owns the folder.
    """
    base = os.path.normpath(folder)
    path = os.path.normpath(os.path.join(base, name))  # noqa: PTH118 (pathlib does not resolve ".." by name)
    return Path(path) if path.startswith(os.path.join(base, "")) and "\0" not in path else None  # noqa: PTH118


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
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    return Record(raw.image_id, raw.path, *size, corners, np.array(labels, np.int64), np.array(crowds, bool)), problems


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


def _show(item: RawObject) -> str:
    return "({:g}, {:g}, {:g}, {:g})".format(*item.box_xyxy)
