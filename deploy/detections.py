"""What a detector says about one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

__all__ = ["Detections"]


@dataclass(frozen=True)
class Detections:
    """N objects found in one image, best first.

    Attributes:
        boxes_xyxy: (N, 4) float32, absolute pixels of the image given by the user, 0 <= x1 <= x2 <= width.
        scores: (N,) float32 in 0..1, descending.
        labels: (N,) int64, index into the bundle's class names, first class is 0.
    """

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes_xyxy.shape != (count, 4) or self.labels.shape != (count,) or self.scores.ndim != 1:
            raise ValueError(
                f"Detections wants boxes (N, 4), scores (N,), labels (N,); got {self.boxes_xyxy.shape}, "
                f"{self.scores.shape}, {self.labels.shape}"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score_threshold: float) -> Detections:
        """The detections whose score is at least ``score_threshold``."""
        keep = self.scores >= score_threshold
        return Detections(self.boxes_xyxy[keep], self.scores[keep], self.labels[keep])

    def to_json(self, class_names: Sequence[str]) -> list[dict[str, Any]]:
        """One plain dictionary an object: box_xyxy (pixels), score, label (index), class (name)."""
        return [
            {
                "box_xyxy": [round(float(value), 2) for value in box],
                "score": round(float(score), 5),
                "label": int(label),
                "class": class_names[int(label)],
            }
            for box, score, label in zip(self.boxes_xyxy, self.scores, self.labels)
        ]

    def to_supervision(self, class_names: Sequence[str] = ()) -> dict[str, Any]:
        """Arguments of `supervision.Detections`: ``supervision.Detections(**found.to_supervision(names))``.

        xyxy (N, 4) float32, confidence (N,) float32, class_id (N,) int, each a copy; data holds "class_name" (N,) where
        names are given, and nothing otherwise.
        """
        data = {"class_name": np.array([class_names[int(label)] for label in self.labels], str)} if class_names else {}
        return {
            "xyxy": self.boxes_xyxy.astype(np.float32),
            "confidence": self.scores.astype(np.float32),
            "class_id": self.labels.astype(int),
            "data": data,
        }

    @staticmethod
    def empty() -> Detections:
        return Detections(np.zeros((0, 4), np.float32), np.zeros((0,), np.float32), np.zeros((0,), np.int64))
