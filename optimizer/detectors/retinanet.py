"""RetinaNet with FPN, assembled from torchvision's parts."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection import _utils
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead as TorchvisionHead
from torchvision.ops import batched_nms, box_iou
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from optimizer.arch.spec import ArchSpec, RetinaNetHead
from optimizer.detectors.base import Detector, GraphOps, Prediction, Truth
from optimizer.detectors.geometry import clip_boxes, decode_boxes, list_canvases
from optimizer.detectors.resnet import Backbone

__all__ = ["RetinaNet"]

RATIOS = (0.5, 1.0, 2.0)
OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
PRE_NMS = 1000  # candidates a level
BOX_NMS = 0.5
MIN_SCORE = 0.05


class RetinaNet(Detector):
    """One stage: classes and boxes for nine anchors a cell on P3 to P7."""

    def __init__(self, arch: ArchSpec, num_classes: int) -> None:
        super().__init__()
        self.arch, self.num_classes = arch, num_classes
        self.backbone = Backbone(arch, first_map=1, extra=LastLevelP6P7(arch.fpn_width, arch.fpn_width))
        sides = [arch.anchor_scale * stride / 2 for stride in (8, 16, 32, 64, 128)]
        sizes = tuple(tuple(int(side * octave) for octave in OCTAVES) for side in sides)
        self.anchor_generator = AnchorGenerator(sizes, (RATIOS,) * len(sizes))
        self.head = TorchvisionHead(arch.fpn_width, len(RATIOS) * len(OCTAVES), num_classes)
        assert isinstance(arch.head, RetinaNetHead)
        for tower in (self.head.classification_head, self.head.regression_head):
            tower.conv = tower.conv[: arch.head.tower_depth]
        self.matcher = _utils.Matcher(0.5, 0.4, allow_low_quality_matches=True)

    def losses(self, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        maps = list(self.backbone(images).values())
        anchors = self.anchor_generator(list_canvases(images), maps)
        targets = [{"boxes": truth.boxes_xyxy, "labels": truth.labels} for truth in truths]
        matched = [self._match(anchor, truth) for anchor, truth in zip(anchors, truths)]
        return self.head.compute_loss(targets, self.head(maps), anchors, matched)

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Prediction]:
        assert not self.training
        maps = list(self.backbone(images).values())
        anchors = self.anchor_generator(list_canvases(images), maps)[0]
        per_level = [map_.shape[-2] * map_.shape[-1] * len(RATIOS) * len(OCTAVES) for map_ in maps]
        out = self.head(maps)
        return [
            self._select(logits.split(per_level), deltas.split(per_level), anchors.split(per_level), images)
            for logits, deltas in zip(out["cls_logits"], out["bbox_regression"])
        ]

    def raw(self, images: Tensor, ops: GraphOps, max_detections: int = 100) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        height, width = images.shape[-2:]
        maps = list(self.backbone(images).values())
        anchors = self.anchor_generator(list_canvases(images), maps)[0]
        per_level = [map_.shape[-2] * map_.shape[-1] * len(RATIOS) * len(OCTAVES) for map_ in maps]
        out = self.head(maps)
        chosen, labels, chosen_deltas, chosen_anchors = [], [], [], []
        for logits, deltas, anchor in zip(
            out["cls_logits"][0].split(per_level), out["bbox_regression"][0].split(per_level), anchors.split(per_level)
        ):
            best, index = ops.topk(logits.flatten(), min(PRE_NMS, int(logits.numel())))
            cell = torch.div(index, self.num_classes, rounding_mode="trunc")
            chosen.append(best)
            labels.append(index - cell * self.num_classes)
            chosen_deltas.append(deltas[cell])
            chosen_anchors.append(anchor[cell])
        boxes = clip_boxes(decode_boxes(torch.cat(chosen_deltas), torch.cat(chosen_anchors)), width, height)
        one_hot = torch.cat(labels)[:, None] == torch.arange(self.num_classes, device=boxes.device)
        scores = torch.cat(chosen).sigmoid()[:, None] * one_hot.to(boxes.dtype)
        return ops.class_nms(boxes[:, None], scores, MIN_SCORE, BOX_NMS, max_detections)

    def _match(self, anchors: Tensor, truth: Truth) -> Tensor:
        if len(truth.labels) == 0:
            return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
        return self.matcher(box_iou(truth.boxes_xyxy, anchors))

    def _select(
        self, logits: tuple[Tensor, ...], deltas: tuple[Tensor, ...], anchors: tuple[Tensor, ...], images: Tensor
    ) -> Prediction:
        height, width = images.shape[-2:]
        boxes, scores, labels = [], [], []
        for logit, delta, anchor in zip(logits, deltas, anchors):
            score = logit.sigmoid().flatten()
            best, index = score.topk(min(PRE_NMS, score.numel()))
            best, index = best[best > MIN_SCORE], index[best > MIN_SCORE]
            cell = torch.div(index, self.num_classes, rounding_mode="floor")
            boxes.append(clip_boxes(decode_boxes(delta[cell], anchor[cell]), width, height))
            scores.append(best)
            labels.append(index % self.num_classes)
        box, score, label = torch.cat(boxes), torch.cat(scores), torch.cat(labels)
        kept = batched_nms(box, score, label, BOX_NMS)[:100]
        return Prediction(box[kept], score[kept], label[kept])
