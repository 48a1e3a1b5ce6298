"""Generated images as a folder and as both of its splits."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from deploy.data import Dataset, read_dataset
from optimizer.data.shapes import write_shapes


class ShapesData(NamedTuple):
    folder: Path
    train: Dataset
    val: Dataset


def make_shapes(folder: Path, train: int, val: int) -> ShapesData:
    """So many images of 64x64."""
    write_shapes(folder, train=train, val=val, size=(64, 64), seed=3)
    return ShapesData(folder, read_dataset(folder, "train"), read_dataset(folder, "val"))
