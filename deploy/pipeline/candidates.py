"""What a graph without NMS for its classes answers: its best candidates, decoded, of which the host selects."""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np

from deploy.detections import Detections
from deploy.engines.base import TensorSpec
from deploy.errors import EngineError, InputError
from deploy.pipeline.nms import Selection, select_best

__all__ = ["USUAL_SELECTION", "check_candidates", "count_cut", "decode_candidates"]

OUTPUTS = ("boxes", "scores", "labels")
USUAL_SELECTION = Selection(score_threshold=0.05, iou_threshold=0.5, max_detections=100)  # torchvision's of R-CNNs


def check_candidates(outputs: Sequence[TensorSpec], size: tuple[int, int]) -> None:
    """Check that a model leaves the selection to its user; its outputs do not say among how many classes.

    Raises:
        InputError: they are not boxes [K, 4], scores [K], labels [K] of fixed shapes, or there is a count, which is
            what a graph that selects by itself has.
    """
    shapes = {spec.name: spec.shape for spec in outputs}
    rows = shapes.get("scores", ())[:1]
    if (
        rows in ((), (None,))
        or "count" in shapes
        or shapes.get("boxes") != (*rows, 4)
        or not shapes["scores"] == shapes.get("labels") == rows
    ):
        raise InputError(
            "a candidates head has boxes [K, 4], scores [K], labels [K] of fixed shapes and no count; this model has "
            + (", ".join(map(str, outputs)) or "no outputs")
        )


def decode_candidates(
    outputs: Mapping[str, np.ndarray], size: tuple[int, int], selection: Selection | None = None
) -> Detections:
    """Of boxes (K, 4), scores (K,), labels (K,), in any order: those above the threshold, NMS class by class, the best.

    Raises:
        EngineError: an output is missing, or a score is not finite.
    """
    chosen = selection or USUAL_SELECTION
    missing = [name for name in OUTPUTS if name not in outputs]
    if missing:
        raise EngineError(f"the model did not answer with {', '.join(missing)}")
    if not np.isfinite(outputs["scores"]).all():
        raise EngineError("the model gives scores that are not finite")
    rows = np.flatnonzero(outputs["scores"] > chosen.score_threshold)
    boxes, scores, labels = (outputs[name][rows] for name in OUTPUTS)
    boxes, scores = boxes.astype(np.float32), scores.astype(np.float32)
    kept = select_best(boxes, scores, labels, chosen.iou_threshold, chosen.max_detections)
    return Detections(boxes[kept], scores[kept], labels[kept].astype(np.int64))


def count_cut(outputs: Mapping[str, np.ndarray], found: Detections, selection: Selection | None) -> int:
    """1 where NMS of more candidates might have given more: all of them were above the threshold and too few remain.

    Greedy NMS of the best is the beginning of greedy NMS of all, so nothing is lost where it gives `max_detections`.
    """
    chosen = selection or USUAL_SELECTION
    return int(len(found) < chosen.max_detections and bool((outputs["scores"] > chosen.score_threshold).all()))
