"""The one place where what label files state becomes records, or problems; all objects of a split at once."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deploy.data.images import image_size
from deploy.data.records import ImageId, Problem, Record
from deploy.errors import InputError

__all__ = ["RawImage", "RawObjects", "bound_turned", "clean_records"]

DOUBLED_IOU = 0.9  # two boxes of a class that overlap more are most likely one object drawn twice
NEIGHBOURS = 256  # boxes beginning close to one's left side that are compared with it: linear, however many there are


def bound_turned(cx: float, cy: float, width: float, height: float, angle: float) -> tuple[float, ...]:
    """x1, y1, x2, y2 round a box that is turned about its centre by an angle in radians."""
    if not math.isfinite(angle):
        return (math.nan,) * 4
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    across, down = (width * cos + height * sin) / 2, (width * sin + height * cos) / 2
    return cx - across, cy - down, cx + across, cy + down


class RawImage(NamedTuple):
    """An image as a label file states it, unchecked; a size of None is read from the image's header."""

    image_id: ImageId
    path: Path
    label_file: Path
    size: tuple[int, int] | None


@dataclass
class RawObjects:
    """Objects as label files state them, unchecked, in columns: arrays of Python's to append to, or numpy's.

    Attributes:
        images: which of the images each is in. indices: its number as in `Problem`. boxes: four corners each.
        labels: -1 for a class that is not known, whose name is in `names`. crowd, difficult: 0 or 1.
    """

    images: Any = field(default_factory=lambda: array("q"))
    indices: Any = field(default_factory=lambda: array("q"))
    boxes: Any = field(default_factory=lambda: array("d"))
    labels: Any = field(default_factory=lambda: array("q"))
    crowd: Any = field(default_factory=lambda: array("b"))
    difficult: Any = field(default_factory=lambda: array("b"))
    names: dict[int, str] = field(default_factory=dict)

    def add(
        self, image: int, index: int, box_xyxy: Sequence[float], label: int | None, name: str, difficult: bool = False
    ) -> None:
        """One more; a label of None is a class that is not known."""
        if label is None:
            self.names[len(self.images)] = name
        self.images.append(image)
        self.indices.append(index)
        self.boxes.extend(box_xyxy)
        self.labels.append(-1 if label is None else label)
        self.crowd.append(0)
        self.difficult.append(difficult)


class _Columns(NamedTuple):
    """The same as arrays, in the order of the images, boxes also as clipped: float32 inside their images."""

    image: np.ndarray
    number: np.ndarray
    box: np.ndarray
    label: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray
    row: np.ndarray
    clipped: np.ndarray

    def keep(self, kept: np.ndarray) -> _Columns:
        """Those of a mask (N,); without a copy where it is all of them."""
        return self if kept.all() else self.take(kept)

    def take(self, rows: np.ndarray) -> _Columns:
        return _Columns(*(column[rows] for column in self))


def clean_records(
    images: Sequence[RawImage], objects: RawObjects, class_names: Sequence[str]
) -> tuple[tuple[Record, ...], list[Problem]]:
    """The usable part of images and their objects, and what was dropped or clipped."""
    problems = _find_twice(images)
    sizes = [_find_size(image, problems) for image in images]
    columns = _columns(objects, np.array([size or (0, 0) for size in sizes], np.float64).reshape(-1, 2))
    columns = columns.keep(np.array([size is not None for size in sizes], bool)[columns.image])
    columns = _drop(columns, images, sizes, objects.names, class_names, problems)
    _report_kept(columns, images, sizes, problems)
    bounds = np.searchsorted(columns.image, np.arange(len(images) + 1))
    labels = columns.label.astype(np.int64)
    records = []
    for position, (image, size) in enumerate(zip(images, sizes)):
        if size is not None:
            part = slice(bounds[position], bounds[position + 1])
            difficult = columns.difficult[part] if columns.difficult[part].any() else None
            records.append(
                Record(
                    image.image_id,
                    image.path,
                    *size,
                    columns.clipped[part],
                    labels[part],
                    columns.crowd[part],
                    difficult,
                )
            )
    return tuple(records), problems


def _find_twice(images: Sequence[RawImage]) -> list[Problem]:
    """The images that are listed twice, each with a part of its objects."""
    first: dict[Path, RawImage] = {}
    found = []
    for image in images:
        other = first.setdefault(image.path, image)
        if other is not image:
            where = "" if other.label_file == image.label_file else f" and {other.label_file}"
            text = f"it is listed twice, as {other.image_id!r} and {image.image_id!r} of {image.label_file}{where}"
            found.append(Problem(image.path, None, "image twice", text, "taken twice"))
    return found


def _find_size(image: RawImage, problems: list[Problem]) -> tuple[int, int] | None:
    if image.size is not None:
        return image.size
    try:
        return image_size(image.path)
    except InputError as error:
        problems.append(Problem(image.path, None, "unreadable image", str(error), "skipped"))
        return None


def _columns(objects: RawObjects, sizes: np.ndarray) -> _Columns:
    image = np.asarray(objects.images, np.int64)
    box = np.asarray(objects.boxes, np.float64).reshape(-1, 4)
    columns = [
        image,
        np.asarray(objects.indices, np.int64),
        box,
        np.asarray(objects.labels, np.int64),
        np.asarray(objects.crowd, bool),
        np.asarray(objects.difficult, bool),
        np.arange(len(image)),
    ]
    if (image[1:] < image[:-1]).any():
        order = np.argsort(image, kind="stable")
        columns = [column[order] for column in columns]
        image, box = columns[0], columns[2]
    limits = np.tile(sizes[image], 2) if len(image) else np.zeros((0, 4))
    with np.errstate(invalid="ignore"):
        clipped = np.minimum(np.maximum(box, 0), limits).astype(np.float32)
    return _Columns._make([*columns, clipped])


def _drop(
    columns: _Columns,
    images: Sequence[RawImage],
    sizes: Sequence[tuple[int, int] | None],
    unknown: dict[int, str],
    class_names: Sequence[str],
    problems: list[Problem],
) -> _Columns:
    """The usable objects; the first thing that is wrong with each other one is reported."""
    box, clipped = columns.box, columns.clipped
    with np.errstate(invalid="ignore"):
        sides, seen = box[:, 2:] - box[:, :2], clipped[:, 2:] - clipped[:, :2]
        wrong = {
            "unknown class": columns.label < 0,
            "not a number": ~np.isfinite(box).all(axis=1),
            "inverted box": (sides < 0).any(axis=1),
            "zero-area box": (sides == 0).any(axis=1),
            "box outside": (seen <= 0).any(axis=1),
        }
    texts = {
        "not a number": "is not finite",
        "inverted box": "has its corners exchanged",
        "zero-area box": "has no area",
        "box outside": "has no part in the image of {}x{}",
    }
    good = np.ones(len(box), bool)
    for kind, marked in wrong.items():
        for row in np.flatnonzero(marked & good):
            size = sizes[columns.image[row]]
            assert size is not None
            if kind == "unknown class":
                text = f"class {unknown[int(columns.row[row])]!r} is not among the data set's classes"
            else:
                text = f"box {_show(box[row])} {texts[kind].format(*size)}"
            problems.append(_problem(columns, images, row, kind, text, "skipped"))
        good &= ~marked
    columns = columns.keep(good)
    again = _find_repeated(columns)
    for row in np.flatnonzero(again):
        name = class_names[columns.label[row]]
        text = f"box {_show(columns.box[row])} of class {name!r} is there twice"
        problems.append(_problem(columns, images, row, "duplicate box", text, "skipped"))
    return columns.keep(~again)


def _report_kept(
    columns: _Columns,
    images: Sequence[RawImage],
    sizes: Sequence[tuple[int, int] | None],
    problems: list[Problem],
) -> None:
    """What is said of objects that are kept."""
    limits = np.array([size or (0, 0) for size in sizes], np.float64).reshape(-1, 2)[columns.image]
    over = (columns.box[:, :2] < 0).any(axis=1) | (columns.box[:, 2:] > limits).any(axis=1)
    for row in np.flatnonzero(columns.crowd | columns.difficult | over):
        shown, size = _show(columns.box[row]), sizes[columns.image[row]]
        assert size is not None
        if columns.crowd[row]:
            kind, text, action = "crowd", f"box {shown} is a crowd", "kept for evaluation only"
        elif columns.difficult[row]:
            kind, text, action = "difficult", f"box {shown} is marked difficult", "trained on, not counted by AP"
        else:
            kind, text, action = "box over the edge", f"box {shown} leaves the image of {size[0]}x{size[1]}", "clipped"
        problems.append(_problem(columns, images, row, kind, text, action))
    for first, second, iou in _find_doubles(columns):
        text = f"nearly the same box as object {columns.number[first]} of the same class (IoU {iou:.2f})"
        problems.append(_problem(columns, images, second, "doubled box", text, "kept"))


def _find_repeated(columns: _Columns) -> np.ndarray:
    """(N,) bool: objects of which the same was there before, by box, class and kind."""
    again = np.zeros(len(columns.image), bool)
    order = np.lexsort((columns.box[:, 0], columns.image))
    same = _equals_next(columns.image[order], columns.box[order, 0])
    if not same.any():
        return again
    rows = order[np.append(same, False) | np.insert(same, 0, False)]  # few: those that begin at the same column
    part = columns.take(rows)
    keys = (part.row, part.crowd, part.label, *part.box.T[::-1], part.image)
    inner = np.lexsort(keys)
    same = _equals_next(part.image[inner], *part.box[inner].T, part.label[inner], part.crowd[inner])
    again[rows[inner[1:][same]]] = True
    return again


def _equals_next(*keys: np.ndarray) -> np.ndarray:
    same: np.ndarray = np.logical_and.reduce([key[1:] == key[:-1] for key in keys])
    return same


def _find_doubles(columns: _Columns) -> Iterable[tuple[int, int, float]]:
    """(earlier, later, IoU) for each box that overlaps an earlier one of its class almost entirely, once each."""
    order = np.lexsort((columns.clipped[:, 0], columns.label, columns.image))
    image, label, box = columns.image[order], columns.label[order], columns.clipped[order].astype(np.float64)
    width = box[:, 2] - box[:, 0]
    area = width * (box[:, 3] - box[:, 1])
    found: dict[int, tuple[int, float]] = {}
    alive = np.arange(len(order))
    for step in range(1, NEIGHBOURS):
        alive = alive[alive + step < len(order)]
        other = alive + step
        # An IoU above t needs left sides closer than (1 - t) of the wider box, which is at most 1 / t of this one.
        near = (image[alive] == image[other]) & (label[alive] == label[other])
        near &= box[other, 0] - box[alive, 0] <= width[alive] * (1 - DOUBLED_IOU) / DOUBLED_IOU
        alive, other = alive[near], other[near]
        if not len(alive):
            break
        low, high = np.maximum(box[alive, :2], box[other, :2]), np.minimum(box[alive, 2:], box[other, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        iou = shared / (area[alive] + area[other] - shared)
        for row in np.flatnonzero(iou > DOUBLED_IOU):
            first, second = sorted((int(order[alive[row]]), int(order[other[row]])))
            found.setdefault(second, (first, float(iou[row])))
    for second in sorted(found):
        yield (found[second][0], second, found[second][1])


def _problem(columns: _Columns, images: Sequence[RawImage], row: Any, kind: str, text: str, action: str) -> Problem:
    image = images[columns.image[row]]
    where = "" if image.label_file.stem == image.path.stem else f"{image.path.name}: "
    return Problem(image.label_file, int(columns.number[row]), kind, where + text, action)


def _show(box: np.ndarray) -> str:
    return "({:g}, {:g}, {:g}, {:g})".format(*box)
