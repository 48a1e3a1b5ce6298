"""Greedy NMS of fixed shapes: rounds over a matrix of overlaps, without NonMaxSuppression and without a loop.

A box is kept if no kept box of a higher score overlaps it. Starting from "all are kept", each round applies that rule
to what the round before kept. Once a round changes nothing its result is greedy NMS's, because the rule has one fixed
point alone; a box is settled after as many rounds as there are boxes in the longest chain of overlaps above it. A set
that a further round would still change is counted.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deploy.export.graph_ops import PADDING_SCORE, OnnxGraphOps, _largest, blank
from deploy.export.roi_align import size_of
from deploy.pipeline.nms import Selection

__all__ = ["CANDIDATES", "ROUNDS", "MatrixGraphOps", "RawGraphOps", "keep_by_rounds"]

ROUNDS = 24
CANDIDATES = 2000  # of all classes that enter the class NMS: a matrix of 16 MB, or that leave the graph
LONG = 32_768  # scores from which on TopK goes by parts
MOST_PARTS = 16


class MatrixGraphOps(OnnxGraphOps):
    """The `GraphOps` of detectors, NMS by rounds: every size is fixed, so an engine can go into a CUDA graph.

    A matrix of N boxes takes 4 N^2 bytes: 4 MB for the 1000 of a pyramid level, 16 MB for the class NMS, and an
    engine holds a handful at a time. The class NMS sees the best `CANDIDATES` of all classes: greedy NMS of the best is
    the beginning of greedy NMS of all, so nothing is lost where these give ``max_detections``, or where there are no
    more.

    Attributes:
        unsettled: of each NMS since the last `reset`, (1,) int64: how many of its sets may not be greedy NMS's, because
            the rounds did not suffice or candidates were cut off that might have been kept.
    """

    @property
    def outputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """With a count of sets where there are any."""
        return (*OnnxGraphOps.outputs, *(("unsettled",) if self.unsettled else ()))

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

    def topk(self, scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The ``count`` largest of (N,), descending, with their indices; of a long list by way of the best of parts."""
        return _largest_by_parts(scores, min(int(count), size_of(scores, 0)))

    def best_pairs(self, scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The ``count`` best pairs of anchor and class of scores (A, C, cells), or all: scores, anchors, classes (K,).

        The best K pairs are of the K anchors whose best class is best, so that only these anchors' scores are sorted,
        and the large array is neither transposed nor copied.
        """
        kinds, classes, cells = (size_of(scores, side) for side in range(3))
        _, numbers = self.topk(scores.amax(1).t().reshape(-1), min(int(count), kinds * cells))
        cell = torch.div(numbers, kinds, rounding_mode="trunc")
        first = (numbers - cell * kinds) * (classes * cells) + cell
        pairs = scores.reshape(-1)[first[:, None] + torch.arange(classes) * cells]
        best, index = self.topk(pairs.reshape(-1), min(int(count), kinds * classes * cells))
        row = torch.div(index, classes, rounding_mode="trunc")
        return best, numbers[row], index - row * classes

    def nms(self, boxes: Tensor, scores: Tensor, iou_threshold: float, keep: int) -> tuple[Tensor, Tensor]:
        """Greedy NMS of (N, 4) by (N,), padded with score -1: boxes (keep, 4), scores (keep,), descending."""
        ordered, order = _order(scores, size_of(scores, 0))
        return _take(*self.nms_of_levels([boxes[order]], [ordered], iou_threshold, keep), int(keep))

    def nms_of_levels(
        self, boxes: list[Tensor], scores: list[Tensor], iou_threshold: float, keep: int
    ) -> tuple[Tensor, Tensor]:
        """Greedy NMS within each list of boxes (N, 4) by (N,), whose scores descend where they are not negative.

        All lists take part in the same rounds, filled up to the longest: boxes (M, 4), scores (M,), -1 if not kept.
        """
        longest = max(size_of(level, 0) for level in scores)
        all_boxes = torch.stack([_fill(level, longest, 0.0) for level in boxes])
        all_scores = torch.stack([_fill(level, longest, PADDING_SCORE) for level in scores])
        kept, changed = keep_by_rounds(_overlaps(all_boxes, iou_threshold), all_scores >= 0, self.rounds)
        self.unsettled.append(changed)
        kept_scores = torch.where(kept, all_scores, torch.full((), PADDING_SCORE))
        return all_boxes.reshape(-1, 4), kept_scores.reshape(-1)

    def class_nms(
        self, boxes: Tensor, scores: Tensor, score_threshold: float, iou_threshold: float, max_detections: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """NMS within each class of boxes (R, C, 4) or (R, 1, 4) by scores (R, C); zeros from row ``count`` on.

        Returns boxes (K, 4), scores (K,), labels (K,) int64, count (1,) int64, with K = max_detections, best first.
        """
        above = _count_above(scores, score_threshold)
        candidates = _choose_cells(boxes, scores, self.candidates)
        return self._suppress(*candidates, above, score_threshold, iou_threshold, max_detections)

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
        above = _count_above(scores, score_threshold)
        best, order = _order(scores, min(self.candidates, size_of(scores, 0)))
        return self._suppress(boxes[order], best, labels[order], above, score_threshold, iou_threshold, max_detections)

    def _suppress(
        self,
        boxes: Tensor,
        scores: Tensor,
        labels: Tensor,
        above: Tensor,
        score_threshold: float,
        iou_threshold: float,
        max_detections: int,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """NMS within each label of the candidates (K, 4), best first, of so many above the threshold."""
        overlaps = _overlaps(boxes, iou_threshold) * (labels[:, None] == labels[None]).to(boxes.dtype)
        kept, changed = keep_by_rounds(overlaps[None], (scores > score_threshold)[None], self.rounds)
        found = kept[0].to(torch.int64).sum(0, keepdim=True)
        cut = (above > self.candidates) & (found < max_detections)
        self.unsettled.append(torch.maximum(changed, cut.to(torch.int64)))
        kept_scores = torch.where(kept[0], scores, torch.full((), PADDING_SCORE))
        kept_scores = torch.cat([kept_scores, torch.full((max_detections,), PADDING_SCORE)])
        top_scores, order = _order(kept_scores, max_detections)
        real = top_scores > PADDING_SCORE
        nothing = torch.zeros(max_detections, dtype=torch.int64)
        best_boxes = torch.cat([boxes, torch.zeros(max_detections, 4)])[order]
        return blank(real, best_boxes, top_scores, torch.cat([labels, nothing])[order])


class RawGraphOps(MatrixGraphOps):
    """The `GraphOps` of detectors where NMS within the classes is the host's: the best candidates leave the graph.

    NMS of region proposals comes before RoIAlign and cannot leave it; it is by rounds.
    """

    head = "candidates"

    @property
    def outputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Without a count, so that nobody takes candidates for objects; sets are counted where there are any."""
        return tuple(name for name in super().outputs if name != "count")

    def class_nms(
        self, boxes: Tensor, scores: Tensor, score_threshold: float, iou_threshold: float, max_detections: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The best `candidates` of boxes (R, C, 4) or (R, 1, 4) by scores (R, C), of all classes, before any NMS.

        Returns boxes (K, 4), scores (K,), labels (K,) int64, and how many are above the threshold (1,) int64, best
        first; the thresholds are in `selection` from then on.
        """
        candidates = _choose_cells(boxes, scores, self.candidates)
        return self._leave(*candidates, score_threshold, iou_threshold, max_detections)

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
        best, order = _order(scores, min(self.candidates, size_of(scores, 0)))
        return self._leave(boxes[order], best, labels[order], score_threshold, iou_threshold, max_detections)

    def without_nms(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float, max_detections: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All of boxes (R, 4); the host looks at their scores, and as no IoU exceeds 1 it drops none for another."""
        return self._leave(boxes, scores, labels, score_threshold, 1.0, max_detections)

    def _leave(
        self,
        boxes: Tensor,
        scores: Tensor,
        labels: Tensor,
        score_threshold: float,
        iou_threshold: float,
        max_detections: int,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        self.selection = Selection(score_threshold, iou_threshold, max_detections)
        return boxes, scores, labels, _count_above(scores, score_threshold)


def keep_by_rounds(overlaps: Tensor, valid: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
    """Which of N boxes of B sets, best first, greedy NMS keeps (B, N), and how many sets a further round would change.

    In a round a box stays 1 if it is valid and no box that stayed overlaps it: max(valid - overlapping, 0), in floats,
    because that is three operators where logic takes six, and a GPU's time goes into starting them.

    Args:
        overlaps: (B, N, N), 1 in row i and column j where box i suppresses box j if it is kept, else 0; 0 unless i < j.
        valid: (B, N) bool; others are never kept and suppress nothing.

    Returns:
        kept (B, N) bool and the number of sets (1,) int64.
    """
    able = valid.to(overlaps.dtype)[:, None]
    kept = able
    for _ in range(rounds):
        kept = torch.relu(able - torch.matmul(kept, overlaps))
    again = torch.relu(able - torch.matmul(kept, overlaps))
    changed = ((kept - again) * (kept - again)).sum((1, 2)) > 0.5
    return kept[:, 0] > 0.5, changed.to(torch.int64).sum(0, keepdim=True)


def _overlaps(boxes: Tensor, iou_threshold: float) -> Tensor:
    """(..., N, N) float of boxes (..., N, 4): 1 where i < j and the IoU of i and j is above the threshold, else 0."""
    count = size_of(boxes, -2)
    left, top, right, bottom = (boxes[..., side] for side in range(4))
    width = (
        torch.minimum(right[..., None], right[..., None, :]) - torch.maximum(left[..., None], left[..., None, :])
    ).clamp(min=0)
    height = (
        torch.minimum(bottom[..., None], bottom[..., None, :]) - torch.maximum(top[..., None], top[..., None, :])
    ).clamp(min=0)
    shared, area = width * height, (right - left) * (bottom - top)
    union = area[..., None] + area[..., None, :] - shared
    place = torch.arange(count)
    overlap = (shared / union.clamp(min=1e-30) > iou_threshold) & (place[:, None] < place[None])
    return overlap.to(boxes.dtype)


def _count_above(scores: Tensor, score_threshold: float) -> Tensor:
    """How many of all scores are above the threshold, (1,) int64."""
    return (scores.reshape(-1) > score_threshold).to(torch.int64).sum(0, keepdim=True)


def _fill(values: Tensor, count: int, value: float) -> Tensor:
    """(count, ...), filled up with the value."""
    missing = count - size_of(values, 0)
    return torch.cat([values, torch.full((missing, *values.shape[1:]), value)]) if missing else values


def _choose_cells(boxes: Tensor, scores: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of the best K cells of scores (R, C): boxes (K, 4), scores, labels (K,); ties are broken in order of class."""
    rows, classes, own_boxes = size_of(scores, 0), size_of(scores, 1), size_of(boxes, 1) != 1
    best, cell = _order(scores.t().reshape(-1), min(most, rows * classes))
    label = torch.div(cell, rows, rounding_mode="trunc")
    boxes = boxes.permute(1, 0, 2).reshape(-1, 4)[cell if own_boxes else cell - label * rows]
    return boxes, best, label


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
        return _largest_by_parts(scores, count)
    ordered = torch.sort(scores, descending=True, stable=True)
    return ordered.values[:count], ordered.indices[:count]


def _largest_by_parts(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest of (N,), descending, with their indices; equal ones in the order they have.

    A GPU's TopK gives a whole list to one of its processors (ONNX Runtime's does), so a long list is cut in parts of
    equal size, whose best are found at once; the best of all are among them.
    """
    length = size_of(scores, 0)
    parts = max(n for n in range(1, MOST_PARTS + 1) if length % n == 0 and (n == 1 or length >= 4 * n * count))
    if length < LONG or parts == 1:
        return _largest(scores, count)
    best, index = _largest(scores.reshape(parts, -1), count)
    index = index + torch.arange(parts)[:, None] * (length // parts)
    values, place = _largest(best.reshape(-1), count)
    return values, index.reshape(-1)[place]
