"""Fixed-shape TopK, NMS and RoIAlign: the same function in eager PyTorch and as ONNX opset 17 operators, for one image.

Detectors write their `raw` with these. Nothing here branches on data: what a selection leaves unused is padding.
"""

from __future__ import annotations

from typing import Any

import torch
import torchvision.ops
from torch import Tensor

from deploy.errors import ExportError
from deploy.export.roi_align import ROI_ALIGN, size_of
from deploy.pipeline.nms import Selection

__all__ = ["OnnxGraphOps"]

MAX_TOPK = 3840  # TensorRT's TopK takes no more
LOWEST_KEPT_SCORE = -1e-30  # NonMaxSuppression keeps what is strictly above; a score of exactly 0 has to stay
PADDING_SCORE = -1.0


class OnnxGraphOps:
    """The `GraphOps` of detectors, NMS by ONNX's NonMaxSuppression: the fastest on a CPU.

    Its output is the one data-dependent size in the graph; it is padded to a fixed count at once.

    Args:
        roi_align: how regions are pooled, a name in `deploy.export.roi_align.ROI_ALIGN`.

    Attributes:
        head: how a graph written with these is read, a name in `deploy.pipeline.decode.HEADS`.
        outputs: of such a graph.
        selection: what is left to the host, known once a graph was written; None where nothing is.
    """

    head = "detections"
    outputs: tuple[str, ...] = ("boxes", "scores", "labels", "count")
    selection: Selection | None = None

    def __init__(self, roi_align: str = "op") -> None:
        self._roi_align = ROI_ALIGN[roi_align]

    def topk(self, scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The ``count`` largest of (N,), descending, with their indices; all N where N is smaller."""
        return _largest(scores, min(int(count), size_of(scores, 0)))

    def nms(self, boxes: Tensor, scores: Tensor, iou_threshold: float, keep: int) -> tuple[Tensor, Tensor]:
        """Greedy NMS of (N, 4) by (N,), padded with score -1: boxes (keep, 4), scores (keep,), descending."""
        keep = int(keep)  # a traced value where it was computed from a shape
        selected = select_boxes(boxes[None], scores[None, None], keep, iou_threshold, LOWEST_KEPT_SCORE)[:, 2]
        first = torch.arange(keep)  # not a slice: the size of what is gathered is known whatever it is gathered from
        rows = torch.cat([selected, torch.zeros(keep, dtype=torch.int64)])[first]
        kept_scores = torch.cat([scores[selected], torch.full((keep,), PADDING_SCORE)])[first]
        return boxes[rows], kept_scores

    def best_pairs(self, scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The ``count`` best pairs of anchor and class of scores (A, C, cells), or all: scores (K,) descending,
        numbers of the anchors (cell by cell, so that A of them share a cell), and of the classes.
        """
        kinds, classes, cells = (size_of(scores, side) for side in range(3))
        best, index = self.topk(scores.permute(2, 0, 1).reshape(-1), min(int(count), kinds * classes * cells))
        number = torch.div(index, classes, rounding_mode="trunc")
        return best, number, index - number * classes

    def nms_of_levels(
        self, boxes: list[Tensor], scores: list[Tensor], iou_threshold: float, keep: int
    ) -> tuple[Tensor, Tensor]:
        """Greedy NMS within each list of boxes (N, 4) by (N,), whose scores descend where they are not negative.

        Of each list the best ``keep``, or as many as it has, padded with score -1: boxes (M, 4), scores (M,).
        """
        kept = [self.nms(*level, iou_threshold, min(int(keep), size_of(level[1], 0))) for level in zip(boxes, scores)]
        return torch.cat([level[0] for level in kept]), torch.cat([level[1] for level in kept])

    def roi_align(self, maps: list[Tensor], rois: Tensor) -> Tensor:
        """(R, C, 7, 7) features of (R, 4) boxes inside the canvas on P2 to P5, as `ROI_ALIGN` has it.

        Equal to torchvision's MultiScaleRoIAlign, slivers and borders included.
        """
        return self._roi_align(maps, rois)

    def class_nms(
        self, boxes: Tensor, scores: Tensor, score_threshold: float, iou_threshold: float, max_detections: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """NMS within each class of boxes (R, C, 4) or (R, 1, 4) by scores (R, C); zeros from row ``count`` on.

        Returns boxes (K, 4), scores (K,), labels (K,) int64, count (1,) int64, with K = max_detections, best first.
        """
        rows, own_boxes = size_of(boxes, 0), size_of(boxes, 1) != 1
        boxes_by_class, scores_by_class = boxes.permute(1, 0, 2), scores.t()
        selected = select_boxes(
            boxes_by_class,
            scores_by_class[:, None] if own_boxes else scores_by_class[None],
            max_detections,
            iou_threshold,
            score_threshold,
        )
        label, row = selected[:, 0 if own_boxes else 1], selected[:, 2]
        cell = label * rows + row
        nothing = torch.zeros(max_detections, dtype=torch.int64)
        found_scores = torch.cat([scores_by_class.reshape(-1)[cell], torch.full((max_detections,), PADDING_SCORE)])
        top_scores, order = (best[torch.arange(max_detections)] for best in _largest(found_scores, max_detections))
        real = top_scores > PADDING_SCORE
        best_boxes = boxes_by_class.reshape(-1, 4)[torch.cat([cell if own_boxes else row, nothing])[order]]
        return blank(real, best_boxes, top_scores, torch.cat([label, nothing])[order])

    def label_nms(
        self,
        boxes: Tensor,
        scores: Tensor,
        labels: Tensor,
        classes: int,
        score_threshold: float,
        iou_threshold: float,
        max_detections: int,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`class_nms` of boxes (R, 4) that have one score (R,) and one label (R,) of so many classes each."""
        one_hot = (labels[:, None] == torch.arange(classes)).to(scores.dtype)
        return self.class_nms(boxes[:, None], scores[:, None] * one_hot, score_threshold, iou_threshold, max_detections)

    def without_nms(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float, max_detections: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What `label_nms` returns, of boxes (R, 4) of which none is dropped for another; scores (R,) descend."""
        missing = max(0, max_detections - size_of(scores, 0))
        best = torch.cat([scores, torch.zeros(missing)])[torch.arange(max_detections)]
        rows = torch.cat([boxes, torch.zeros(missing, 4)])[torch.arange(max_detections)]
        named = torch.cat([labels, torch.zeros(missing, dtype=torch.int64)])[torch.arange(max_detections)]
        return blank(best > score_threshold, rows, best, named)


def blank(real: Tensor, boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes (K, 4), scores (K,) and labels (K,) with zeros where a row is not real, and how many are (1,) int64."""
    return (
        torch.where(real[:, None], boxes, torch.zeros(())),
        torch.where(real, scores, torch.zeros(())),
        torch.where(real, labels, torch.zeros((), dtype=torch.int64)),
        real.to(torch.int64).sum(0, keepdim=True),
    )


def select_boxes(
    boxes: Tensor, scores: Tensor, most_per_class: int, iou_threshold: float, score_threshold: float
) -> Tensor:
    """(M, 3) int64 rows (batch, class, box) kept by greedy NMS of boxes (B, N, 4) by scores (B, C, N).

    In order of batch, class, descending score; of boxes with a score above ``score_threshold``.
    """
    selected: Tensor = _Select.apply(boxes, scores, most_per_class, iou_threshold, score_threshold)
    return selected


class _Select(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, boxes: Tensor, scores: Tensor, most_per_class: int, iou_threshold: float, score_threshold: float
    ) -> Tensor:
        kept = [torch.zeros((0, 3), dtype=torch.int64)]
        for batch, label in (scores > score_threshold).any(2).nonzero().tolist():
            candidates = (scores[batch, label] > score_threshold).nonzero()[:, 0]
            order = torchvision.ops.nms(boxes[batch, candidates], scores[batch, label, candidates], iou_threshold)
            best = candidates[order[:most_per_class], None]
            kept.append(torch.cat([torch.tensor([[batch, label]]).expand(len(best), 2), best], 1))
        return torch.cat(kept)

    @staticmethod
    def symbolic(
        g: Any, boxes: Any, scores: Any, most_per_class: int, iou_threshold: float, score_threshold: float
    ) -> Any:
        selected = g.op(
            "NonMaxSuppression",
            boxes,
            scores,
            g.op("Constant", value_t=torch.tensor([most_per_class])),
            g.op("Constant", value_t=torch.tensor([iou_threshold])),
            g.op("Constant", value_t=torch.tensor([score_threshold])),
        )
        selected.setType(boxes.type().with_dtype(torch.int64).with_sizes([None, 3]))
        return selected


def _largest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    if count > MAX_TOPK:
        raise ExportError(
            f"the graph would need the {count} best of a list; TopK takes at most {MAX_TOPK}: ask for fewer"
        )
    values, indices = torch.topk(scores, count)
    return values, indices
