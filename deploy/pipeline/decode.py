"""From a model's raw outputs to detections on its canvas: one kind of head for each way to write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Collection, Mapping, Protocol, Sequence, Tuple

import numpy as np

from deploy.detections import Detections
from deploy.engines.base import TensorSpec
from deploy.errors import EngineError, InputError
from deploy.pipeline import candidates, fastestdet, queries, yolo, yolox
from deploy.pipeline.candidates import check_candidates, count_cut, decode_candidates
from deploy.pipeline.fastestdet import count_fastestdet_classes, decode_fastestdet
from deploy.pipeline.nms import Selection
from deploy.pipeline.preprocess import Preprocess
from deploy.pipeline.queries import (
    check_end2end,
    check_ranked,
    count_detr_classes,
    decode_detr,
    decode_end2end,
    decode_ranked,
)
from deploy.pipeline.yolo import count_yolov5_classes, count_yolov8_classes, decode_yolov5, decode_yolov8
from deploy.pipeline.yolox import count_yolox_classes, decode_yolox

__all__ = [
    "HEADS",
    "Head",
    "Size",
    "check_detections",
    "check_labels",
    "count_unsettled",
    "decode_detections",
    "get_head",
]

Size = Tuple[int, int]  # of the canvas: width, height


class Decode(Protocol):
    """Outputs by name to detections on a canvas; a pure function, of a selection where the graph does not select."""

    def __call__(
        self, outputs: Mapping[str, np.ndarray], size: Size, selection: Selection | None = None
    ) -> Detections: ...


@dataclass(frozen=True)
class Head:
    """A kind of head: how the outputs of its models are checked and read.

    Attributes:
        summary: what its models answer, for a reader who has to choose.
        count_classes: of the outputs that a model declares; None where they do not say. `InputError`, naming what was
            wanted and what is there, if a model of these outputs is not of this kind.
        decode: outputs by name to detections on the canvas, with the head's usual selection where none is given.
        order: of the channels that its models are usually fed with, as in `Preprocess`; adopting a model starts there.
        scale: what the levels 0 to 255 are divided by for them.
        selection: which candidates are objects where nothing else is said; None where its graphs select by themselves.
        leads: whether the outputs of one image lead with an axis of 1.
    """

    summary: str
    count_classes: Callable[[Sequence[TensorSpec], Size], int | None]
    decode: Decode
    order: str = "rgb"
    scale: float = 1.0
    leads: bool = False
    selection: Selection | None = None

    def usual_preprocess(self, width: int, height: int) -> Preprocess:
        """Levels in this head's order and scale."""
        return Preprocess(width, height, self.order, std=(self.scale,) * 3)


def check_detections(outputs: Sequence[TensorSpec], size: Size) -> None:
    """Check that a model selects by itself; its outputs do not say among how many classes."""
    _find_outputs([spec.name for spec in outputs])
    shapes = {spec.name: spec.shape for spec in outputs}
    rows = shapes["scores"][:1]
    if (
        rows in ((), (None,))
        or shapes["boxes"] != (*rows, 4)
        or not shapes["scores"] == shapes["labels"] == rows
        or shapes["count"] != (1,)
    ):
        raise InputError(
            "a detections head has boxes [K, 4], scores [K], labels [K], count [1] of fixed shapes; this model has "
            + ", ".join(map(str, outputs))
        )


def decode_detections(outputs: Mapping[str, np.ndarray], size: Size, selection: Selection | None = None) -> Detections:
    """Of a graph that selects by itself: the first ``count`` rows of boxes (K, 4), scores (K,), labels (K,).

    Rows from ``count`` on are padding and never read. There is nothing left to select.
    """
    _find_outputs(outputs)
    count = int(outputs["count"].reshape(-1)[0])
    if not 0 <= count <= len(outputs["scores"]):
        raise EngineError(f"the model counts {count} detections in {len(outputs['scores'])} rows")
    return Detections(
        outputs["boxes"][:count].astype(np.float32),
        outputs["scores"][:count].astype(np.float32),
        outputs["labels"][:count].astype(np.int64),
    )


HEADS: dict[str, Head] = {
    "detections": Head("boxes, scores, labels and their count, selected in the graph", check_detections,
                       decode_detections),
    "candidates": Head("boxes, scores and labels before NMS, which numpy then does", check_candidates,
                       decode_candidates, selection=candidates.USUAL_SELECTION),
    "yolox": Head("one row per grid cell, [1, cells, 5 + classes], boxes not decoded, scores after their sigmoids",
                  count_yolox_classes, decode_yolox, order="bgr", leads=True, selection=yolox.USUAL_SELECTION),
    "yolov5": Head("one row per box, [1, 3 x cells, 5 + classes], boxes in pixels, objectness; also YOLOv7",
                   count_yolov5_classes, decode_yolov5, scale=255, leads=True, selection=yolo.USUAL_SELECTION),
    "yolov8": Head("one column per cell, [1, 4 + classes, cells], boxes in pixels, no objectness; also YOLOv9, YOLO11",
                   count_yolov8_classes, decode_yolov8, scale=255, leads=True, selection=yolo.USUAL_SELECTION),
    "end2end": Head("one row per object, [1, K, 6]: corners in pixels, score, label; YOLOv10, YOLO26",
                    check_end2end, decode_end2end, scale=255, leads=True, selection=queries.USUAL_SELECTION),
    "detr": Head("pred_logits [1, K, classes] and pred_boxes [1, K, 4] in shares of the canvas; RT-DETR, D-FINE, "
                 "RF-DETR", count_detr_classes, decode_detr, scale=255, leads=True, selection=queries.USUAL_SELECTION),
    "ranked": Head("boxes [1, K, 4] in pixels, scores [1, K], labels [1, K], no NMS; deployed RT-DETR, D-FINE",
                   check_ranked, decode_ranked, scale=255, leads=True, selection=queries.USUAL_SELECTION),
    "fastestdet": Head("one map of cells, [1, 5 + classes, rows, columns], boxes not decoded, scores probabilities",
                       count_fastestdet_classes, decode_fastestdet, order="bgr", scale=255, leads=True,
                       selection=fastestdet.USUAL_SELECTION),
}  # fmt: skip


def get_head(name: str) -> Head:
    """The kind of head of this name; an `InputError` lists those there are."""
    if name not in HEADS:
        raise InputError(f"unknown head {name!r}; this release decodes: {', '.join(sorted(HEADS))}")
    return HEADS[name]


def check_labels(found: Detections, class_names: Sequence[str]) -> None:
    """Raises `EngineError` where a label is not one of so many classes."""
    if len(found) and not 0 <= found.labels.min() <= found.labels.max() < len(class_names):
        raise EngineError(
            f"the model gives labels from {found.labels.min()} to {found.labels.max()} of {len(class_names)} classes"
        )


def count_unsettled(
    outputs: Mapping[str, np.ndarray], found: Detections, head: str, selection: Selection | None = None
) -> int:
    """How many sets of boxes of one image may differ from greedy NMS's: what the graph counted, and what was cut."""
    counted = int(outputs["unsettled"][0]) if "unsettled" in outputs else 0
    return counted + (count_cut(outputs, found, selection) if head == "candidates" else 0)


def _find_outputs(names: Collection[str]) -> None:
    missing = [name for name in ("boxes", "scores", "labels", "count") if name not in names]
    if missing:
        raise InputError(f"the model has no output {', '.join(missing)}; it has {', '.join(sorted(names))}")
