"""Whether the long lines of YOLO's label files are boxes with keypoints or outlines, where nobody says.

"class cx cy w h x y x y" and "class x y x y x y x y" look alike. All lines of a data set together mostly tell: outlines
differ in their number of points, visibilities are 0, 1 or 2, keypoints lie inside their box, and a box's width and
height are not a corner of its object.
"""

from __future__ import annotations

from typing import Optional, Tuple

import numpy as np

__all__ = ["OUTLINES", "KeypointFinder", "Keypoints"]

Keypoints = Optional[Tuple[int, int]]  # how many, of how many values each; (0, 0) for outlines; None: not known
OUTLINES = (0, 0)
ENOUGH = 2000  # lines of one length that are looked at
CLEAR = 0.1  # how much greater one share has to be than the other
SHORTEST = 12  # characters: six numbers and their spaces
SLACK = 0.1  # of a box's sides, by which a keypoint may lie outside it


class KeypointFinder:
    """Looks at lines until they tell, or are at an end.

    Attributes:
        found: what the lines are; None as long as they may be either.
    """

    def __init__(self, stated: Keypoints = None) -> None:
        self.found = stated
        self._rows: list[list[float]] = []

    @property
    def length(self) -> int:
        """How many numbers follow the class in the lines that are looked at; 0 before there is one."""
        return len(self._rows[0]) if self._rows else 0

    def look(self, text: str) -> None:
        """The lines of one more file; those of a box alone, and those that are not numbers, tell nothing."""
        for line in text.split("\n") if self.found is None and len(text) > SHORTEST else ():
            self._look_at(line)

    def _look_at(self, line: str) -> None:
        if self.found is not None or line.count(" ") + line.count("\t") < 6:
            return
        try:
            row = [float(value) for value in line.split()[1:]]
        except ValueError:
            return
        if len(row) < 6 or not np.isfinite(row).all():
            return
        if self._rows and len(row) != self.length:
            self.found = OUTLINES
            return
        self._rows.append(row)
        if len(self._rows) == ENOUGH:
            self.conclude()

    def conclude(self) -> None:
        """Decide by what there is, if that tells; without a long line they are outlines, of which there is none."""
        if self.found is None:
            self.found = _judge(np.array(self._rows)) if self._rows else OUTLINES


def _judge(rows: np.ndarray) -> Keypoints:
    """Of rows (N, L) of numbers after the class."""
    length = rows.shape[1]
    boxed = _has_box(rows)
    if (length - 4) % 3 == 0 and boxed.mean() >= 0.5 and np.isin(rows[:, 6::3], (0, 1, 2)).all():
        return (length - 4) // 3, 3
    if length % 2:
        return OUTLINES  # which have pairs: each of these lines is reported as broken
    as_keypoints, as_outlines = float((boxed & _has_keypoints(rows)).mean()), float(_is_outline(rows).mean())
    if as_keypoints < 0.5 or as_outlines > as_keypoints + CLEAR:
        return OUTLINES
    return ((length - 4) // 2, 2) if as_keypoints > as_outlines + CLEAR else None


def _has_box(rows: np.ndarray) -> np.ndarray:
    """(N,) bool: whether a row may begin with a box inside the image."""
    centre, side = rows[:, :2], rows[:, 2:4]
    return np.asarray(((side > 0) & (centre - side / 2 > -0.01) & (centre + side / 2 < 1.01)).all(axis=1))


def _has_keypoints(rows: np.ndarray) -> np.ndarray:
    """(N,) bool: whether what follows the box may be points (0, 0) or inside it."""
    centre, side = rows[:, None, :2], rows[:, None, 2:4]
    points = rows[:, 4:].reshape(len(rows), -1, 2)
    near = (np.abs(points - centre) <= side * (0.5 + SLACK)).all(axis=2)
    return np.asarray((near | (points == 0).all(axis=2)).all(axis=1))


def _is_outline(rows: np.ndarray) -> np.ndarray:
    """(N,) bool: whether the second point, where a box has its sides, is as near to the others as a corner would be."""
    points = rows.reshape(len(rows), -1, 2)
    others = np.delete(points, 1, axis=1)
    others = np.where((others == 0).all(axis=2, keepdims=True), others[:, :1], others)  # keypoints that nobody labelled
    low, high = others.min(axis=1), others.max(axis=1)
    around = (high - low).max(axis=1, keepdims=True) * (1 if points.shape[1] == 3 else 0.5)
    near = (points[:, 1] >= low - around) & (points[:, 1] <= high + around)
    in_image = (rows > -0.01).all(axis=1) & (rows < 1.01).all(axis=1)
    return np.asarray(near.all(axis=1) & in_image)
