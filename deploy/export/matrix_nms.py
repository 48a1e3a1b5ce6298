"""Greedy NMS of fixed shapes: rounds over a matrix of overlaps, without NonMaxSuppression and without a loop.

A box is kept if no kept box of a higher score overlaps it. Starting from "all are kept", each round applies that rule
to what the round before kept. Once a round changes nothing its result is greedy NMS's, because the rule has one fixed
point alone; a box is settled after as many rounds as there are boxes in the longest chain of overlaps above it. A set
that a further round would still change is counted.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deploy.export.graph_ops import PADDING_SCORE, OnnxGraphOps, _largest
from deploy.export.roi_align import size_of
from deploy.pipeline.nms import Selection

__all__ = ["CANDIDATES", "ROUNDS", "MatrixGraphOps", "RawGraphOps", "keep_by_rounds"]

ROUNDS = 24
CANDIDATES = 2000  # of all classes that enter the class NMS: a matrix of 16 MB, or that leave the graph


class MatrixGraphOps(OnnxGraphOps):
    """The `GraphOps` of detectors, NMS by rounds: every size is fixed, so an engine can go into a CUDA graph.

    A matrix of N boxes takes 4 N^2 bytes: 4 MB for the 1000 of a pyramid level, 16 MB for the class NMS, and an
    engine holds a handful at a time. The class NMS sees the best `CANDIDATES` of all classes: greedy NMS of the best is
    the beginning of greedy NMS of all, so nothing is lost where these give ``max_detections``, or where there are no
    more.

    Attributes:
        unsettled: of each NMS since the last `reset`, (1,) int64: 1 where the result may not be greedy NMS's, because
            the rounds did not suffice or candidates were cut off that might have been kept.
    """

    outputs = (*OnnxGraphOps.outputs, "unsettled")

    def __init__(self, roi_align: str = "op", rounds: int = ROUNDS, candidates: int = CANDIDATES) -> None:
        super().__init__(roi_align)
        self.rounds, self.candidates = rounds, candidates
        self.unsettled: list[Tensor] = []

    def reset(self) -> None:
        """Forgets the sets so far."""
        self.unsettled = []

    def count_unsettled(self) -> Tensor:
        """How many sets since the last `reset` may differ from greedy NMS's, (1,) int64."""
        return torch.stack([torch.zeros(1, dtype=torch.int64), *self.unsettled]).sum(0)

    def nms(self, boxes: Tensor, scores: Tensor, iou_threshold: float, keep: int) -> tuple[Tensor, Tensor]:
        """Greedy NMS of (N, 4) by (N,), padded with score -1: boxes (keep, 4), scores (keep,), descending."""
        keep = int(keep)
        ordered, order = _order(scores, size_of(scores, 0))
        boxes = boxes[order]
        kept, changed = keep_by_rounds(_overlaps(boxes, iou_threshold), ordered >= 0, self.rounds)
        self.unsettled.append(changed)
        return _take(boxes, torch.where(kept, ordered, torch.full((), PADDING_SCORE)), keep)

    def class_nms(
        self, boxes: Tensor, scores: Tensor, score_threshold: float, iou_threshold: float, max_detections: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """NMS within each class of boxes (R, C, 4) or (R, 1, 4) by scores (R, C); zeros from row ``count`` on.

        Returns boxes (K, 4), scores (K,), labels (K,) int64, count (1,) int64, with K = max_detections, best first.
        """
        by_class, boxes, best, label = _choose_candidates(boxes, scores, self.candidates)
        valid = best > score_threshold
        overlaps = _overlaps(boxes, iou_threshold) * (label[:, None] == label[None]).to(boxes.dtype)
        kept, changed = keep_by_rounds(overlaps, valid, self.rounds)
        found = kept.to(torch.int64).sum(0, keepdim=True)
        cut = (by_class > score_threshold).to(torch.int64).sum(0, keepdim=True) > self.candidates
        self.unsettled.append(torch.maximum(changed, (cut & (found < max_detections)).to(torch.int64)))
        kept_scores = torch.where(kept, best, torch.full((), PADDING_SCORE))
        kept_scores = torch.cat([kept_scores, torch.full((max_detections,), PADDING_SCORE)])
        top_scores, order = _order(kept_scores, max_detections)
        real = top_scores > PADDING_SCORE
        nothing = torch.zeros(max_detections, dtype=torch.int64)
        best_boxes = torch.cat([boxes, torch.zeros(max_detections, 4)])[order]
        return (
            torch.where(real[:, None], best_boxes, torch.zeros(())),
            torch.where(real, top_scores, torch.zeros(())),
            torch.where(real, torch.cat([label, nothing])[order], torch.zeros((), dtype=torch.int64)),
            real.to(torch.int64).sum(0, keepdim=True),
        )


class RawGraphOps(MatrixGraphOps):
    """The `GraphOps` of detectors where NMS within the classes is the host's: the best candidates leave the graph.

    NMS of region proposals comes before RoIAlign and cannot leave it; it is by rounds.
    """

    head = "candidates"

    @property
    def outputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Without a count, so that nobody takes candidates for objects; sets are counted where there are any."""
        return ("boxes", "scores", "labels", *(("unsettled",) if self.unsettled else ()))

    def class_nms(
        self, boxes: Tensor, scores: Tensor, score_threshold: float, iou_threshold: float, max_detections: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The best `candidates` of boxes (R, C, 4) or (R, 1, 4) by scores (R, C), of all classes, before any NMS.

        Returns boxes (K, 4), scores (K,), labels (K,) int64, and how many are above the threshold (1,) int64, best
        first; the thresholds are in `selection` from then on.
        """
        self.selection = Selection(score_threshold, iou_threshold, max_detections)
        _, boxes, best, label = _choose_candidates(boxes, scores, self.candidates)
        return boxes, best, label, (best > score_threshold).to(torch.int64).sum(0, keepdim=True)


def keep_by_rounds(overlaps: Tensor, valid: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """Which of N boxes, best first, greedy NMS keeps (N,), and whether a further round would change it (1,) int64.

    Args:
        overlaps: (N, N), 1 in row i and column j where box i suppresses box j if it is kept, else 0; 0 unless i < j.
        valid: (N,) bool; others are never kept and suppress nothing.
    """
    kept = valid
    for _ in range(rounds):
        kept = _apply_rule(overlaps, valid, kept)
    again = _apply_rule(overlaps, valid, kept)
    difference = kept.to(torch.int64) - again.to(torch.int64)
    return kept, ((difference * difference).sum(0, keepdim=True) > 0).to(torch.int64)


def _apply_rule(overlaps: Tensor, valid: Tensor, kept: Tensor) -> Tensor:
    suppressors = torch.matmul(kept.to(overlaps.dtype)[None], overlaps)[0]
    return valid & (suppressors < 0.5)


def _overlaps(boxes: Tensor, iou_threshold: float) -> Tensor:
    """(N, N) float: 1 where i < j and the IoU of boxes i and j is above the threshold, else 0."""
    count = size_of(boxes, 0)
    left, top, right, bottom = (boxes[:, side] for side in range(4))
    width = (torch.minimum(right[:, None], right[None]) - torch.maximum(left[:, None], left[None])).clamp(min=0)
    height = (torch.minimum(bottom[:, None], bottom[None]) - torch.maximum(top[:, None], top[None])).clamp(min=0)
    shared, area = width * height, (right - left) * (bottom - top)
    union = area[:, None] + area[None] - shared
    place = torch.arange(count)
    overlap = (shared / union.clamp(min=1e-30) > iou_threshold) & (place[:, None] < place[None])
    return overlap.to(boxes.dtype)


def _choose_candidates(boxes: Tensor, scores: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All scores (C * R,), in order of class as ties are broken; of the best K: boxes (K, 4), scores, labels (K,)."""
    rows, classes, own_boxes = size_of(scores, 0), size_of(scores, 1), size_of(boxes, 1) != 1
    by_class = scores.t().reshape(-1)
    best, cell = _order(by_class, min(most, rows * classes))
    label = torch.div(cell, rows, rounding_mode="trunc")
    boxes = boxes.permute(1, 0, 2).reshape(-1, 4)[cell if own_boxes else cell - label * rows]
    return by_class, boxes, best, label


def _take(boxes: Tensor, scores: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """The best ``keep`` of boxes by scores, filled up with padding where there are fewer."""
    count = size_of(scores, 0)
    best, order = _order(scores, min(keep, count))
    if count >= keep:
        return boxes[order], best
    rows = torch.cat([order, torch.zeros(keep - count, dtype=torch.int64)])
    return boxes[rows], torch.cat([best, torch.full((keep - count,), PADDING_SCORE)])


def _order(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest and their indices; of equal ones the first comes first, as TopK of ONNX says."""
    if torch.jit.is_tracing():  # type: ignore[no-untyped-call]
        return _largest(scores, count)
    ordered = torch.sort(scores, descending=True, stable=True)
    return ordered.values[:count], ordered.indices[:count]
