"""Labelled images as every reader returns them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Union

import numpy as np

__all__ = ["Dataset", "ImageId", "Problem", "Record"]

ImageId = Union[int, str]  # opaque: what a label file calls an image, or its position


@dataclass(frozen=True)
class Problem:
    """Something in a data set that is not as it should be, and what is done about it.

    Attributes:
        file: the image, or the label file where an object is meant.
        object: which object of the label file, counted from 0 (YOLO: which line); None where the whole file is meant.
        action: "skipped", "clipped", or a few words such as "kept for evaluation only".
        count: of how many images it speaks, where it is of several.
    """

    file: Path
    object: int | None
    kind: str
    text: str
    action: str
    count: int = 1


@dataclass(frozen=True)
class Record:
    """One image and its objects.

    Attributes:
        width, height: as the labels state them; of the file where they do not. See `read_image` about rotated photos.
        boxes_xyxy: (N, 4) float32 pixels of the image, inside it, with positive sides.
        labels: (N,) int64, index into the data set's class names.
        crowd: (N,) bool; crowds are ignored regions in evaluation and not trained on.
        difficult: (N,) bool, or None for none; VOC's mark: trained on, but neither found nor missed in evaluation.
    """

    image_id: ImageId
    path: Path
    width: int
    height: int
    boxes_xyxy: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray | None = None

    @property
    def counted(self) -> np.ndarray:
        """(N,) bool: the objects that average precision is about."""
        return ~self.crowd if self.difficult is None else ~(self.crowd | self.difficult)


@dataclass(frozen=True)
class Dataset:
    """Records of one split, the names of all classes, and what was found wrong on the way.

    Attributes:
        layout: what the folder was taken for, as "Pascal VOC, XML beside the images".
        held_out: of which split these were taken aside, where the data set has none of its own; empty otherwise.
        supercategories: of each class, where the labels group classes; one without a group has its own name. Empty
            where they group none.
    """

    class_names: tuple[str, ...]
    records: tuple[Record, ...]
    problems: tuple[Problem, ...]
    layout: str = field(default="", compare=False)
    held_out: str = field(default="", compare=False)
    supercategories: tuple[str, ...] = field(default=(), compare=False)

    def first(self, count: int) -> Dataset:
        """The same with at most `count` records."""
        return replace(self, records=self.records[:count])

    def count_objects(self) -> int:
        """Objects of all records that average precision is about: neither crowds nor difficult ones."""
        return sum(int(np.count_nonzero(record.counted)) for record in self.records)
