"""Crops of labelled images, to train a classifier on: the objects, and places without any (a reconstruction)."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from deploy.data import Dataset, Record
from optimizer.data.canvas import read_record
from optimizer.data.pictures import View
from optimizer.detectors.base import Truth
from optimizer.errors import InputError
from optimizer.seeds import derive_seed

__all__ = ["BACKGROUND", "ObjectCrops", "frame_object", "list_free_cells"]

BACKGROUND = "background"
MIN_SIDE_PX = 4  # of an object; of a smaller one nothing can be seen
GROWTH = 1.25  # side of the square round an object, in the object's longer side
GRID = 4  # cells along each side of an image, which places without an object are


class ObjectCrops:
    """A square round each object, with the class of that; and a place without any object of each image that has one.

    Only numbers of images and objects are held; an image is read anew for each crop of it.

    Raises:
        InputError: there are crops of one class alone, or none.
    """

    def __init__(self, dataset: Dataset, view: View) -> None:
        self._records, self._view = dataset.records, view
        self.class_names = (*dataset.class_names, BACKGROUND)
        self._samples = np.array(_list_samples(dataset), np.int32).reshape(-1, 2)
        labels = {self._label(index) for index in range(len(self._samples))}
        if len(labels) < 2:
            found = ", ".join(self.class_names[label] for label in labels) or "nothing"
            raise InputError(
                f"the training images have crops of {found} alone to pre-train on, and a classifier needs two classes: "
                "name a folder of classes, or go without (--pretrain none)"
            )

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def canvases(self) -> int:
        return 1

    def name(self, index: int) -> str:
        return str(self._records[self._samples[index, 0]].path)

    def read(self, index: int, canvas: int, seed: int) -> tuple[Tensor, Truth]:
        image, number = self._samples[index]
        record = self._records[image]
        if number < 0:
            cells = list_free_cells(record)
            box = cells[derive_seed(seed, "cell") % len(cells)]
        else:
            box = frame_object(record.boxes_xyxy[number], (record.width, record.height))
        left, top, right, bottom = box.tolist()
        return self._view.show(read_record(record)[top:bottom, left:right], self._label(index), seed)

    def _label(self, index: int) -> int:
        image, number = self._samples[index]
        return len(self.class_names) - 1 if number < 0 else int(self._records[image].labels[number])


def frame_object(box_xyxy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(4,) whole pixels of the square round an object, less what of it is outside an image of this (width, height)."""
    centre, half = (box_xyxy[:2] + box_xyxy[2:]) / 2, GROWTH * (box_xyxy[2:] - box_xyxy[:2]).max() / 2
    limit = np.array([*size, *size])
    frame: np.ndarray = np.concatenate([np.floor(centre - half), np.ceil(centre + half)])
    return frame.clip(0, limit).astype(np.int64)


def list_free_cells(record: Record) -> np.ndarray:
    """(N, 4) whole pixels of the cells of a grid over an image that no object reaches into, crowds included."""
    across, down = (np.linspace(0, side, GRID + 1).astype(np.int64) for side in (record.width, record.height))
    left, top = (corner.ravel() for corner in np.meshgrid(across[:-1], down[:-1]))
    right, bottom = (corner.ravel() for corner in np.meshgrid(across[1:], down[1:]))
    cells = np.stack([left, top, right, bottom], axis=1)
    boxes = record.boxes_xyxy
    starts_before = (cells[:, None, :2] < boxes[None, :, 2:]).all(axis=2)
    ends_after = (cells[:, None, 2:] > boxes[None, :, :2]).all(axis=2)
    meets = np.asarray(starts_before & ends_after)
    is_large = (cells[:, 2:] - cells[:, :2]).min(axis=1) >= MIN_SIDE_PX
    free: np.ndarray = cells[is_large & ~meets.any(axis=1)]
    return free


def _list_samples(dataset: Dataset) -> list[tuple[int, int]]:
    """(number of the image, number of the object in it), where -1 is a place without one."""
    samples: list[tuple[int, int]] = []
    for number, record in enumerate(dataset.records):
        sides = record.boxes_xyxy[:, 2:] - record.boxes_xyxy[:, :2]
        fit = ~record.crowd & (sides.min(axis=1, initial=np.inf) >= MIN_SIDE_PX)
        samples += [(number, index) for index in np.flatnonzero(fit).tolist()]
        if len(list_free_cells(record)):
            samples.append((number, -1))
    return samples
