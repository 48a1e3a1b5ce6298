"""Labelled images as every reader returns them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deploy.errors import InputError

__all__ = ["Dataset", "Problem", "RawObject", "RawRecord", "Record", "clean_record", "image_size", "read_image"]


@dataclass(frozen=True)
class Problem:
    """Something in a data set that is not as it should be, and what is done about it.

    Attributes:
        object: which object of the file, counted from 0; None where the whole file is meant.
        action: "skipped" or "clipped" or "kept for evaluation only".
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


@dataclass(frozen=True)
class RawObject:
    """An object as a label file states it, unchecked; `label` is None for an unknown class."""

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


def clean_record(raw: RawRecord) -> tuple[Record | None, list[Problem]]:
    """The usable part of a raw record, None if its image cannot be used, and what was dropped or clipped."""
    problems: list[Problem] = []

    def report(index: int | None, kind: str, text: str, action: str) -> None:
        problems.append(Problem(raw.path if index is None else raw.label_file, index, kind, text, action))

    if not raw.path.is_file():
        report(None, "missing image", "the image does not exist", "skipped")
        return None, problems
    size = raw.size
    if size is None or min(size) < 1:
        try:
            size = image_size(raw.path)
        except InputError as error:
            report(None, "unreadable image", str(error), "skipped")
            return None, problems
    width, height = size
    boxes: list[tuple[float, float, float, float]] = []
    labels: list[int] = []
    crowds: list[bool] = []
    seen: set[tuple[object, ...]] = set()
    for index, item in enumerate(raw.objects):
        x1, y1, x2, y2 = item.box_xyxy
        shown = "({:g}, {:g}, {:g}, {:g})".format(*item.box_xyxy)
        if item.label is None:
            report(index, "unknown class", f"class {item.class_name!r} is not among the data set's classes", "skipped")
        elif not all(np.isfinite(item.box_xyxy)):
            report(index, "not a number", f"box {shown} is not finite", "skipped")
        elif x2 < x1 or y2 < y1:
            report(index, "inverted box", f"box {shown} has its corners exchanged", "skipped")
        elif x2 == x1 or y2 == y1:
            report(index, "zero-area box", f"box {shown} has no area", "skipped")
        elif x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
            report(index, "box outside", f"box {shown} lies outside the image of {width}x{height}", "skipped")
        elif (item.box_xyxy, item.label, item.crowd) in seen:
            report(index, "duplicate box", f"box {shown} of class {item.class_name!r} is there twice", "skipped")
        else:
            seen.add((item.box_xyxy, item.label, item.crowd))
            clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
            if clipped != item.box_xyxy:
                report(index, "box over the edge", f"box {shown} leaves the image of {width}x{height}", "clipped")
            if item.crowd:
                report(index, "crowd", f"box {shown} is a crowd", "kept for evaluation only")
            boxes.append(clipped)
            labels.append(item.label)
            crowds.append(item.crowd)
    record = Record(
        raw.image_id,
        raw.path,
        width,
        height,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
        np.array(crowds, bool),
    )
    return record, problems


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of the stored pixels, from the file's header."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is not an image that can be read ({error})") from error


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image file, whatever its colour mode.

    EXIF rotation is not applied: the coordinates of COCO, VOC and YOLO labels refer to the pixels as they are stored.

    Raises:
        InputError: the file is missing, truncated or no image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError as error:
        raise InputError(f"there is no image {path}") from error
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is not an image that can be read ({error})") from error


def clean_records(raws: Iterable[RawRecord]) -> tuple[list[Record], list[Problem]]:
    """All usable records and all problems."""
    records, problems = [], []
    for raw in raws:
        record, found = clean_record(raw)
        problems += found
        if record is not None:
            records.append(record)
    return records, problems


def inside(folder: Path, name: str) -> Path | None:
    """`folder / name` if that stays inside the folder, else None."""
    path = folder / name
    return path if path.resolve().is_relative_to(folder.resolve()) else None
