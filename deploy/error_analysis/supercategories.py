"""Which classes are similar: those of one super-category."""

from __future__ import annotations

from typing import NamedTuple

from deploy.data.coco_names import COCO_SUPERCATEGORIES
from deploy.data.records import Dataset

__all__ = ["Grouping", "group_classes"]


class Grouping(NamedTuple):
    """The super-category of each class.

    Attributes:
        source: where they are from, as a phrase; empty where every class is its own.
    """

    supercategory_of: tuple[str, ...]
    source: str


def group_classes(dataset: Dataset) -> Grouping:
    """As the data set's labels say; else as COCO does, if all classes are COCO's; else every class by itself."""
    if dataset.supercategories:
        return Grouping(dataset.supercategories, "the data set")
    coco = {name: parent for parent, names in COCO_SUPERCATEGORIES.items() for name in names}
    if all(name in coco for name in dataset.class_names):
        return Grouping(tuple(coco[name] for name in dataset.class_names), "COCO's list of its classes")
    return Grouping(dataset.class_names, "")
