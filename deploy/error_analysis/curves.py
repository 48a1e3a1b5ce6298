"""The seven curves of COCO's error analysis, and what lies between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["AREAS", "CURVES", "LOSSES", "ErrorAnalysis", "ErrorCurves", "average_curves"]

# What lies between each curve and the one before it.
CURVES = {
    "C75": "found, with an IoU of at least 0.75",
    "C50": "found by a looser box, with an IoU from 0.5",
    "Loc": "a badly placed box, with an IoU from 0.1 to 0.5",
    "Sim": "an object of a similar class taken for this one",
    "Oth": "an object of any other class taken for this one",
    "BG": "a box on the background, or a second one of an object",
    "FN": "an object that is missed",
}
LOSSES = tuple(CURVES)[2:]  # those of mistakes
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
POINTS = 101  # of recall, from 0 to 1


@dataclass(frozen=True)
class ErrorCurves:
    """Precision over recall of one class, or the mean of several; the more mistakes are forgiven, the higher.

    No curve falls below the one before, with one exception: where a lower IoU suffices (C50, Loc), boxes may take other
    objects than before, and if ignored objects are among them (crowds, difficult ones, those of another size), a box
    that was ignored may count as wrong.

    Attributes:
        objects: how many objects of each of `AREAS` are to be found.
        precision: (areas, curves, 101) in 0..1. Without an object to find, FN is 1 and the others are 0.
    """

    name: str
    objects: tuple[int, ...]
    precision: np.ndarray

    def means(self, area: str = "all") -> dict[str, float]:
        """The mean of each curve over recall; that of C50 is AP50, that of C75 AP75."""
        index = list(AREAS).index(area)
        return dict(zip(CURVES, self.precision[index].mean(axis=1).tolist()))

    def losses(self, area: str = "all") -> dict[str, float]:
        """What each kind of mistake costs; with the mean of C50 they add up to 1."""
        means = self.means(area)
        return {name: means[name] - means[before] for before, name in zip(CURVES, tuple(CURVES)[1:]) if name in LOSSES}

    def count(self, area: str = "all") -> int:
        """How many objects of this size are to be found."""
        return self.objects[list(AREAS).index(area)]

    def to_json(self) -> dict[str, Any]:
        """By area: objects, losses, and of each curve the mean and all points; null of an area without an object."""
        by_area: dict[str, Any] = {}
        for index, area in enumerate(AREAS):
            by_area[area] = None
            if self.objects[index]:
                by_area[area] = {
                    "objects": self.objects[index],
                    "means": _round(self.means(area)),
                    "losses": _round(self.losses(area)),
                    "curves": dict(zip(CURVES, self.precision[index].round(4).tolist())),
                }
        return {"name": self.name, "areas": by_area}


@dataclass(frozen=True)
class ErrorAnalysis:
    """The curves of every class and their means.

    Attributes:
        overall: the mean over all classes that have an object. supercategories: over those of each one.
        supercategory_of: of each class.
        grouped_by: where the super-categories are from, as a phrase; empty where every class is its own, so that Sim
            forgives nothing.
        detections: how many there were, of classes that the data has.
    """

    overall: ErrorCurves
    supercategories: tuple[ErrorCurves, ...]
    classes: tuple[ErrorCurves, ...]
    supercategory_of: tuple[str, ...]
    grouped_by: str
    detections: int

    def to_json(self) -> dict[str, Any]:
        named = zip(self.classes, self.supercategory_of)
        return {
            "supercategories_from": self.grouped_by or None,
            "detections": self.detections,
            "overall": self.overall.to_json(),
            "supercategories": [curves.to_json() for curves in self.supercategories],
            "classes": [{**curves.to_json(), "supercategory": parent} for curves, parent in named],
        }


def average_curves(name: str, members: Sequence[ErrorCurves]) -> ErrorCurves:
    """The mean over the members that have an object, for each area by itself; the objects of all of them."""
    precision = np.stack([member.precision for member in members])
    objects = np.array([member.objects for member in members])
    there = objects > 0
    weights = np.where(there.any(axis=0), there, True)  # where no member has any, they are all the same
    mean = (precision * weights[:, :, None, None]).sum(axis=0) / weights.sum(axis=0)[:, None, None]
    return ErrorCurves(name, tuple(objects.sum(axis=0).tolist()), mean)


def _round(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in values.items()}
