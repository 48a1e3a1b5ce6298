"""CenterNet: an object is the peak of a heat map at its centre, and a size read off there (Zhou et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from optimizer.arch.heads import CenterNetHead
from optimizer.arch.heads.centernet import BRANCHES
from optimizer.arch.spec import ArchSpec
from optimizer.detectors.backbone import Backbone
from optimizer.detectors.base import ClassRows, Detector, GraphOps, Prediction, RegionView, Seen, Truth
from optimizer.detectors.geometry import clip_boxes
from optimizer.detectors.heat import Centres, draw_heat, find_heat_loss, place_centres

__all__ = ["CenterNet"]

FIRST_LOGIT = -2.19  # of every cell: a probability of 0.1
SIZE_WEIGHT = 0.1
MIN_SCORE = 0.05  # as of the other detectors
MOST = 100
NO_PEAK = -1e4  # a logit


class CenterNet(Detector):
    """One stage without anchors: classes, a size and an offset for each cell of one map (FACTS 4.9)."""

    class_layers = {"head.heatmap.2": ClassRows()}
    head_groups = {"head.heatmap.": "heat map", "head.size.": "sizes", "head.offset.": "offsets"}

    def __init__(self, arch: ArchSpec, num_classes: int) -> None:
        super().__init__()
        assert isinstance(arch.head, CenterNetHead)
        self.arch, self.num_classes = arch, num_classes
        self.stride = arch.maps[0].stride
        self.backbone = Backbone(arch)
        widths = arch.maps[0].width, arch.head.width
        heat = _make_branch(*widths, num_classes, FIRST_LOGIT)
        boxes = [_make_branch(*widths, 2, 0.0, deviation=0.001) for _ in BRANCHES[1:]]
        self.head = nn.ModuleDict(dict(zip(BRANCHES, (heat, *boxes), strict=True)))

    def losses_and_regions(
        self, images: Tensor, truths: list[Truth], with_view: bool = False, seen: Seen | None = None
    ) -> tuple[dict[str, Tensor], list[Tensor], RegionView | None]:
        assert not with_view, "a CenterNet has no regions"
        logits, sizes, offsets = self._ask_head(seen or self.see(images))
        centres = place_centres(truths, self.stride, (logits.shape[2], logits.shape[3]))
        heat = draw_heat(centres, (len(truths), *logits.shape[1:]))
        losses = {
            "heatmap": find_heat_loss(logits, heat),
            "box_size": SIZE_WEIGHT * _compare(sizes, centres, centres.sizes),
            "box_offset": _compare(offsets, centres, centres.offsets),
        }
        return losses, [], None

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Prediction]:
        assert not self.training
        logits, sizes, offsets = self._ask_head(self.see(images))
        peaks = _keep_peaks(logits)
        found = []
        for peak, size, offset in zip(peaks, sizes, offsets):
            best, index = peak.flatten(1).t().flatten().topk(min(MOST, peak.numel()))
            scores = best.sigmoid()
            index, scores = index[scores > MIN_SCORE], scores[scores > MIN_SCORE]
            cell = torch.div(index, self.num_classes, rounding_mode="trunc")
            boxes = self._decode(cell, size, offset, images)
            found.append(Prediction(boxes, scores, index - cell * self.num_classes))
        return found

    def raw(self, images: Tensor, ops: GraphOps, max_detections: int = 100) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        logits, sizes, offsets = self._ask_head(self.see(images))
        peaks = _keep_peaks(logits)
        best, cell, labels = ops.best_pairs(peaks[0].flatten(1)[None], max_detections)
        boxes = self._decode(cell, sizes[0], offsets[0], images)
        return ops.without_nms(boxes, best.sigmoid(), labels, MIN_SCORE, max_detections)

    def _ask_head(self, seen: Seen) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, C, h, w), sizes and offsets (B, 2, h, w) in cells, horizontal first; in float32."""
        (map_,) = seen.neck.values()
        logits, sizes, offsets = (self.head[name](map_).float() for name in BRANCHES)
        return logits, sizes, offsets

    def _decode(self, cell: Tensor, sizes: Tensor, offsets: Tensor, images: Tensor) -> Tensor:
        """Boxes (K, 4) of cells (K,) of one image, on its canvas."""
        height, width = images.shape[-2:]
        columns = sizes.shape[-1]
        row = torch.div(cell, columns, rounding_mode="trunc")
        corner = torch.stack((cell - row * columns, row), 1).to(sizes.dtype)
        centre = corner + offsets.flatten(1).t()[cell]
        half = sizes.flatten(1).t()[cell].clamp(min=0) / 2
        return clip_boxes(torch.cat((centre - half, centre + half), 1) * self.stride, width, height)


def _make_branch(in_width: int, width: int, outputs: int, bias: float, deviation: float | None = None) -> nn.Sequential:
    """A branch whose last layer begins with this bias, and with weights of this deviation or torch's own."""
    last = nn.Conv2d(width, outputs, 1)
    assert last.bias is not None
    nn.init.constant_(last.bias, bias)
    if deviation is not None:
        nn.init.normal_(last.weight, std=deviation)
    return nn.Sequential(nn.Conv2d(in_width, width, 3, padding=1), nn.ReLU(inplace=True), last)


def _keep_peaks(logits: Tensor) -> Tensor:
    """Logits (B, C, h, w) with those put out that a neighbour of the eight exceeds."""
    best = functional.max_pool2d(logits, 3, stride=1, padding=1)
    return torch.where(logits >= best, logits, torch.full((), NO_PEAK, dtype=logits.dtype, device=logits.device))


def _compare(found: Tensor, centres: Centres, wanted: Tensor) -> Tensor:
    """Mean absolute error at the centres, over both numbers of each; 0 where there are none."""
    at = found[centres.images, :, centres.rows, centres.columns]
    return (at - wanted).abs().sum() / (wanted.numel() + 1e-4)
