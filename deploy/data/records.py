"""Labelled images as every reader returns them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

__all__ = ["Dataset", "Problem", "Record"]


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
