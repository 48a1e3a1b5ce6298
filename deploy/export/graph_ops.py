"""Fixed-shape TopK, NMS and RoIAlign: the same function in eager PyTorch and as ONNX opset 17 operators, for one image.

Detectors write their `raw` with these. Nothing here branches on data: what a selection leaves unused is padding.
"""

from __future__ import annotations

from typing import Any

import torch
import torchvision.ops
from torch import Tensor
from torch.nn.functional import pad

from deploy.errors import ExportError
from deploy.pipeline.nms import Selection

__all__ = ["OnnxGraphOps"]

MAX_TOPK = 3840  # TensorRT's TopK takes no more
STRIDES = (4, 8, 16, 32)  # of P2 to P5
ROI_SIDE = 7
SAMPLES_PER_BIN_SIDE = 2
RING = 2  # replicated pixels right of and below P3, P4, P5 in the atlas
LOWEST_KEPT_SCORE = -1e-30  # NonMaxSuppression keeps what is strictly above; a score of exactly 0 has to stay
PADDING_SCORE = -1.0


class OnnxGraphOps:
    """The `GraphOps` of detectors, NMS by ONNX's NonMaxSuppression: the fastest on a CPU.

    Its output is the one data-dependent size in the graph; it is padded to a fixed count at once.

    Attributes:
        head: how a graph written with these is read, a name in `deploy.pipeline.decode.HEADS`.
        outputs: of such a graph.
        selection: what is left to the host, known once a graph was written; None where nothing is.
    """

    head = "detections"
    outputs: tuple[str, ...] = ("boxes", "scores", "labels", "count")
    selection: Selection | None = None

    def topk(self, scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The ``count`` largest of (N,), descending, with their indices; all N where N is smaller."""
        return _largest(scores, min(int(count), _size(scores, 0)))

    def nms(self, boxes: Tensor, scores: Tensor, iou_threshold: float, keep: int) -> tuple[Tensor, Tensor]:
        """Greedy NMS of (N, 4) by (N,), padded with score -1: boxes (keep, 4), scores (keep,), descending."""
        keep = int(keep)  # a traced value where it was computed from a shape
        selected = select_boxes(boxes[None], scores[None, None], keep, iou_threshold, LOWEST_KEPT_SCORE)[:, 2]
        first = torch.arange(keep)  # not a slice: the size of what is gathered is known whatever it is gathered from
        rows = torch.cat([selected, torch.zeros(keep, dtype=torch.int64)])[first]
        kept_scores = torch.cat([scores[selected], torch.full((keep,), PADDING_SCORE)])[first]
        return boxes[rows], kept_scores

    def roi_align(self, maps: list[Tensor], rois: Tensor) -> Tensor:
        """(R, C, 7, 7) features of (R, 4) boxes inside the canvas, by one RoIAlign over an atlas of P2 to P5.

        Equal to torchvision's MultiScaleRoIAlign, slivers and borders included, on canvases of up to 1,568 pixels a
        side. Beyond, a box on P3 to P5 can be thinner than a cell; where it also touches the right or lower border it
        reads the border's features, and torchvision's reads zeros.
        """
        atlas, offsets = lay_atlas(maps)
        level = level_of(rois)
        scale = torch.tensor([1.0 / stride for stride in STRIDES])[level, None]
        shift = torch.tensor([[x, y, x, y] for x, y in offsets], dtype=torch.float32)[level]
        return pool_rois(atlas, rois * scale + shift)

    def class_nms(
        self, boxes: Tensor, scores: Tensor, score_threshold: float, iou_threshold: float, max_detections: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """NMS within each class of boxes (R, C, 4) or (R, 1, 4) by scores (R, C); zeros from row ``count`` on.

        Returns boxes (K, 4), scores (K,), labels (K,) int64, count (1,) int64, with K = max_detections, best first.
        """
        rows, own_boxes = _size(boxes, 0), _size(boxes, 1) != 1
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
        return (
            torch.where(real[:, None], best_boxes, torch.zeros(())),
            torch.where(real, top_scores, torch.zeros(())),
            torch.where(real, torch.cat([label, nothing])[order], torch.zeros((), dtype=torch.int64)),
            real.to(torch.int64).sum(0, keepdim=True),
        )


def level_of(rois: Tensor) -> Tensor:
    """Pyramid level (R,) int64, 0 for P2, of boxes (R, 4): floor(4 + log2(sqrt(area) / 224) + 1e-6) held in 2..5.

    Feature Pyramid Networks, equation 1; by comparing areas, so that no runtime's logarithm has a say.
    """
    area = (rois[:, 2] - rois[:, 0]) * (rois[:, 3] - rois[:, 1])
    smallest_area = torch.tensor([(224 * 2.0 ** (level - 4 - 1e-6)) ** 2 for level in (3, 4, 5)])
    return (area[:, None] >= smallest_area).to(torch.int64).sum(1)


def lay_atlas(maps: list[Tensor]) -> tuple[Tensor, list[tuple[int, int]]]:
    """One map holding P2 to P5 (each (1, C, h, w)), and the (x, y) cell at which each begins.

    ::

        P3 | P4 | P5 |       right of and below these: replicated pixels, so that a sample between the last cell
        -------------+       and the border reads what clamping to the map would read
              P2     |       ends where the atlas ends, so RoIAlign's own border rules hold for it
    """
    (_, p2_width), *sizes = [(_size(level, 2), _size(level, 3)) for level in maps]
    band_height = RING + max(height for height, _ in sizes)
    band_width = sum(RING + width for _, width in sizes)
    width = max(band_width, p2_width)
    band, starts, x = [], [(width - p2_width, band_height)], 0
    for level, (level_height, level_width) in zip(maps[1:], sizes):
        ringed = pad(level, (0, RING, 0, RING), mode="replicate")
        last = level is maps[-1]
        band.append(
            _pad_zeros(ringed, right=width - band_width if last else 0, below=band_height - RING - level_height)
        )
        starts.append((x, 0))
        x += level_width + RING
    atlas = torch.cat([torch.cat(band, 3), _pad_zeros(maps[0], left=width - p2_width)], 2)
    return atlas, starts


def select_boxes(
    boxes: Tensor, scores: Tensor, most_per_class: int, iou_threshold: float, score_threshold: float
) -> Tensor:
    """(M, 3) int64 rows (batch, class, box) kept by greedy NMS of boxes (B, N, 4) by scores (B, C, N).

    In order of batch, class, descending score; of boxes with a score above ``score_threshold``.
    """
    selected: Tensor = _Select.apply(boxes, scores, most_per_class, iou_threshold, score_threshold)
    return selected


def pool_rois(feature_map: Tensor, rois: Tensor) -> Tensor:
    """(R, C, 7, 7) by RoIAlign (aligned=False, 2 samples a side) of rois (R, 4), in cells of one map (1, C, h, w)."""
    pooled: Tensor = _Pool.apply(feature_map, rois, _size(rois, 0), _size(feature_map, 1))
    return pooled


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


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, feature_map: Tensor, rois: Tensor, count: int, channels: int) -> Tensor:
        pooled: Tensor = torchvision.ops.roi_align(
            feature_map, [rois], ROI_SIDE, 1.0, SAMPLES_PER_BIN_SIDE, aligned=False
        )
        return pooled

    @staticmethod
    def symbolic(g: Any, feature_map: Any, rois: Any, count: int, channels: int) -> Any:
        pooled = g.op(
            "RoiAlign",
            feature_map,
            rois,
            g.op("Constant", value_t=torch.zeros(count, dtype=torch.int64)),
            coordinate_transformation_mode_s="output_half_pixel",
            mode_s="avg",
            output_height_i=ROI_SIDE,
            output_width_i=ROI_SIDE,
            sampling_ratio_i=SAMPLES_PER_BIN_SIDE,
            spatial_scale_f=1.0,
        )
        pooled.setType(feature_map.type().with_sizes([count, channels, ROI_SIDE, ROI_SIDE]))
        return pooled


def _pad_zeros(level: Tensor, left: int = 0, right: int = 0, below: int = 0) -> Tensor:
    return pad(level, (left, right, 0, below)) if left or right or below else level


def _largest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    if count > MAX_TOPK:
        raise ExportError(
            f"the graph would need the {count} best of a list; TopK takes at most {MAX_TOPK}: ask for fewer"
        )
    values, indices = torch.topk(scores, count)
    return values, indices


def _size(tensor: Tensor, dimension: int) -> int:
    """A dimension as a plain number, also while the exporter traces (where ``shape`` holds traced values)."""
    return int(tensor.shape[dimension])
