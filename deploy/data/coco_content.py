"""A COCO file taken apart while it is read: images by key, and objects in columns."""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploy.data.clean import RawObjects
from deploy.data.records import Problem
from deploy.data.stream import iterate_parts
from deploy.data.values import as_number, as_size, as_truth

__all__ = ["BROKEN", "MISSING", "CocoContent"]

SECTIONS = ("images", "annotations")
BROKEN = (KeyError, TypeError, ValueError, OverflowError, AttributeError)  # what a wrong entry raises when it is read
PLAIN_TRUTH = {None: 0, 0: 0, 1: 1}  # also false and true
BEYOND = 1 << 31  # any side of an image
UNLISTED, MISSING = -1, -2  # instead of the row of an image


class CocoContent:
    """What a label file lists, taken apart: images by key, and objects in columns."""

    def __init__(self, labels: Path) -> None:
        self.labels = labels
        self.problems: list[Problem] = []
        self.images: dict[Hashable, tuple[str, tuple[int, int] | None]] = {}
        self.positions: list[int] = []  # of each image, in the file's list
        self.rows: dict[Hashable, int] = {}  # of each image that there is, or MISSING
        self._again: dict[Hashable, list[tuple[int, str]]] = {}  # position and name of later images of an id
        self.objects = RawObjects()
        self._image_keys: dict[Hashable, int] = {}  # in the order that objects name them
        self._category_keys: dict[Hashable, int] = {}
        self._read()

    def uses(self, key: Hashable) -> bool:
        """Whether an object is of this category."""
        return key in self._category_keys

    def join(self, index: Mapping[Hashable, int]) -> RawObjects:
        """The objects, each with the row of its image and the label of its category."""
        objects = self.objects
        image_of = np.array([_look_up(self.rows, key) for key in self._image_keys], np.int64)
        label_of = np.array([_look_up(index, key) for key in self._category_keys], np.int64)
        images = image_of[np.asarray(objects.images)]
        categories = np.asarray(objects.labels)
        labels = label_of[categories]
        keys = list(self._category_keys)
        objects.names = {int(row): str(keys[categories[row]]) for row in np.flatnonzero(labels < 0)}
        for row in np.flatnonzero(images == UNLISTED):
            self._skip(objects.indices[row], "broken annotation", "it is of no image that is listed")
        boxes = np.asarray(objects.boxes).reshape(-1, 4)
        columns = (images, objects.indices, boxes, labels, objects.crowd, objects.difficult)
        kept = images >= 0
        if not kept.all():
            numbers = {row: position for position, row in enumerate(np.flatnonzero(kept).tolist())}
            objects.names = {numbers[row]: name for row, name in objects.names.items() if row in numbers}
            columns = tuple(np.asarray(column)[kept] for column in columns)
        return RawObjects(*columns, names=objects.names)

    def _read(self) -> None:
        image = annotation = 0
        for section, entries in iterate_parts(self.labels, SECTIONS):
            if section == "annotations":
                self._add_objects(annotation, entries)
                annotation += len(entries)
            else:
                for position, entry in enumerate(entries, start=image):
                    try:
                        self._add_image(position, entry)
                    except BROKEN as error:
                        self._skip(position, "broken image entry", _say(error))
                image += len(entries)
        self._drop_shared()

    def _drop_shared(self) -> None:
        """Leave out the images that share an id: nothing tells which of them its objects are of.

        An entry that repeats an image, or names one that has an id of its own, shares nothing.
        """
        positions = dict(zip(self.images, self.positions))
        listed = {name for name, _ in self.images.values()}
        for key, again in self._again.items():
            name = self.images[key][0]
            others = [other for _, other in again if other not in listed]
            for position, other in again:
                text = f"{other!r} has the id {key!r}, as {name!r} has"
                self._skip(
                    position, "duplicate image", text + ("; nothing tells their objects apart" if others else "")
                )
            if others:
                self._skip(positions.pop(key), "duplicate image", f"{name!r} has the id {key!r}, as {others[0]!r} has")
                del self.images[key]
                self.rows[key] = MISSING
        self.positions = list(positions.values())

    def _add_objects(self, first: int, entries: Sequence[Any]) -> None:
        """All of these at once where they are as they should be, else one by one."""
        try:
            boxes = np.array([entry["bbox"] for entry in entries])
            if boxes.shape != (len(entries), 4) or boxes.dtype.kind not in "fiu":
                raise ValueError
            crowd = [PLAIN_TRUTH[entry.get("iscrowd")] for entry in entries]
            images = [self._image_keys.setdefault(entry["image_id"], len(self._image_keys)) for entry in entries]
            keys = self._category_keys
            labels = [keys.setdefault(entry["category_id"], len(keys)) for entry in entries]
        except BROKEN:
            for position, entry in enumerate(entries, start=first):
                try:
                    self._add_object(position, entry)
                except BROKEN as error:
                    self._skip(position, "broken annotation", _say(error))
            return
        corners = boxes.astype(np.float64)
        corners[:, 2:] += corners[:, :2]
        self.objects.boxes.frombytes(corners.tobytes())
        self.objects.images.extend(images)
        self.objects.indices.extend(range(first, first + len(entries)))
        self.objects.labels.extend(labels)
        self.objects.crowd.extend(crowd)
        self.objects.difficult.extend([0] * len(entries))

    def _add_object(self, position: int, entry: Any) -> None:
        corners = array("d", _read_corners(entry))
        crowd = as_truth(entry.get("iscrowd"))
        image_key = self._image_keys.setdefault(entry["image_id"], len(self._image_keys))
        category_key = self._category_keys.setdefault(entry["category_id"], len(self._category_keys))
        objects = self.objects
        objects.boxes.extend(corners)
        objects.images.append(image_key)
        objects.indices.append(position)
        objects.labels.append(category_key)
        objects.crowd.append(crowd)
        objects.difficult.append(False)

    def _add_image(self, position: int, entry: Any) -> None:
        key = entry["id"]
        name = entry[
            "coco_url" if "file_name" not in entry and "coco_url" in entry else "file_name"
        ]  # LVIS has the URL
        width, height = entry.get("width"), entry.get("height")
        plain = type(width) is int and type(height) is int and 0 < width < BEYOND and 0 < height < BEYOND
        size = (width, height) if plain else as_size(width, height)
        if not isinstance(name, str) or not isinstance(key, (int, float, str)):
            raise TypeError(f"id {key!r}, file_name {name!r}")
        if key in self.images:
            self._again.setdefault(key, []).append((position, name))
            return
        self.images[key] = (name, size)
        self.positions.append(position)

    def _skip(self, position: int, kind: str, text: str) -> None:
        self.problems.append(Problem(self.labels, position, kind, text, "skipped"))


def _read_corners(entry: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 of the box, or round the outlines where there is no box."""
    if entry.get("bbox") or not isinstance(entry.get("segmentation"), list):
        x, y, width, height = map(as_number, entry["bbox"])
        return x, y, x + width, y + height
    values = [as_number(value) for outline in entry["segmentation"] for value in outline]
    if len(values) < 6:
        raise ValueError("it has neither a box nor an outline")
    return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])


def _say(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else f"a field is not as it should be: {error}"


def _look_up(rows: Mapping[Hashable, int], key: Hashable) -> int:
    """The row of a key, also where one file has it as text and as a number; -1 without any."""
    if key in rows:
        return rows[key]
    if isinstance(key, str) and key.lstrip("-").isdigit() and str(int(key)) == key:
        return rows.get(int(key), UNLISTED)
    return rows.get(str(key), UNLISTED) if isinstance(key, int) and not isinstance(key, bool) else UNLISTED
