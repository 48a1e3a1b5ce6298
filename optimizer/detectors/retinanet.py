"""RetinaNet with FPN, assembled from torchvision's parts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection import _utils
from torchvision.models.detection.retinanet import RetinaNetHead as TorchvisionHead
from torchvision.ops import batched_nms, box_iou

from optimizer.arch.heads import RetinaNetHead
from optimizer.arch.spec import ArchSpec
from optimizer.detectors.anchors import make_anchors
from optimizer.detectors.backbone import Backbone
from optimizer.detectors.base import ClassRows, Detector, GraphOps, Prediction, RegionSample, RegionView, Seen, Truth
from optimizer.detectors.geometry import clip_boxes, decode_boxes, list_canvases
from optimizer.detectors.region_pool import RegionPool

__all__ = ["RetinaNet"]

RATIOS = (0.5, 1.0, 2.0)
OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
PRE_NMS = 1000  # candidates per level
BOX_NMS = 0.5
MIN_SCORE = 0.05
VIEWED_ANCHORS = 64  # regions per image that distillation compares


class RetinaNet(Detector):
    """One stage: classes and boxes for nine anchors a cell on P3 to P7."""

    class_layers = {"head.classification_head.cls_logits": ClassRows(anchors=len(RATIOS) * len(OCTAVES))}
    head_groups = {"head.classification_head.conv.": "class tower", "head.regression_head.": "box tower"}

    def __init__(self, arch: ArchSpec, num_classes: int) -> None:
        super().__init__()
        head, width = arch.head, arch.maps[0].width
        assert isinstance(head, RetinaNetHead)
        self.arch, self.num_classes = arch, num_classes
        self.backbone = Backbone(arch)
        strides = head.levels.strides
        sides = tuple(tuple(head.anchor_scale * stride / 2 * octave for octave in OCTAVES) for stride in strides)
        self.anchor_generator = make_anchors(sides, RATIOS, strides, head.exact_anchors)
        self.head = TorchvisionHead(width, len(RATIOS) * len(OCTAVES), num_classes)
        for tower in (self.head.classification_head, self.head.regression_head):
            tower.conv = tower.conv[: head.tower_depth]
        self.matcher = _utils.Matcher(0.5, 0.4, allow_low_quality_matches=True)
        self.view_pool = RegionPool(["0", "1", "2", "3", "4"], output_size=7, sampling_ratio=2)

    def losses_and_regions(
        self, images: Tensor, truths: list[Truth], with_view: bool = False, seen: Seen | None = None
    ) -> tuple[dict[str, Tensor], list[Tensor], RegionView | None]:
        seen = seen or self.see(images)
        maps = list(seen.neck.values())
        anchors = self.anchor_generator(list_canvases(images), maps)
        targets = [{"boxes": truth.boxes_xyxy, "labels": truth.labels} for truth in truths]
        matched = [self._match(anchor, truth) for anchor, truth in zip(anchors, truths)]
        outputs = self._ask_head(seen)
        losses = self.head.compute_loss(targets, outputs, anchors, matched)
        if not with_view:
            return losses, [], None
        regions = [_choose_regions(match, logits) for match, logits in zip(matched, outputs["cls_logits"])]
        return losses, regions, self._make_view(maps, outputs, anchors, regions, images)

    def view(
        self, images: Tensor, regions: list[Tensor], canvas: tuple[int, int], seen: Seen | None = None
    ) -> RegionView:
        assert canvas == (images.shape[-1], images.shape[-2]), "anchors have the same numbers on the same canvas only"
        seen = seen or self.see(images)
        maps = list(seen.neck.values())
        anchors = self.anchor_generator(list_canvases(images), maps)
        return self._make_view(maps, self._ask_head(seen), anchors, regions, images)

    @torch.no_grad()
    def sample(self, images: Tensor, truths: list[Truth], seen: Seen) -> RegionSample:
        assert not self.training
        anchors = self.anchor_generator(list_canvases(images), list(seen.neck.values()))
        matched = [self._match(anchor, truth) for anchor, truth in zip(anchors, truths)]
        regions = [_choose_regions(match, logits) for match, logits in zip(matched, self._ask_head(seen)["cls_logits"])]
        return RegionSample(regions, torch.cat([match[region] for match, region in zip(matched, regions)]) >= 0)

    def list_anchors(self, images: Tensor, seen: Seen) -> list[Tensor]:
        maps = list(seen.neck.values())
        anchors = self.anchor_generator(list_canvases(images), maps)[0]
        return list(anchors.split([len(RATIOS) * len(OCTAVES) * map_.shape[-2] * map_.shape[-1] for map_ in maps]))

    def _ask_head(self, seen: Seen) -> dict[str, Tensor]:
        """Classes and boxes of all anchors, asked once a batch."""
        if not seen.outputs:
            seen.outputs.update(self.head(list(seen.neck.values())))
        return seen.outputs

    def _make_view(
        self,
        maps: list[Tensor],
        outputs: dict[str, Tensor],
        anchors: list[Tensor],
        regions: list[Tensor],
        images: Tensor,
    ) -> RegionView:
        boxes = [anchor[region] for anchor, region in zip(anchors, regions)]
        named = {str(level): map_ for level, map_ in enumerate(maps)}
        features = self.view_pool(named, boxes, list_canvases(images).image_sizes)
        logits = torch.cat([item[region] for item, region in zip(outputs["cls_logits"], regions)]).float()
        deltas = torch.cat([item[region] for item, region in zip(outputs["bbox_regression"], regions)]).float()
        log_probs = torch.stack((functional.logsigmoid(logits), functional.logsigmoid(-logits)), -1)
        return RegionView(features.float(), log_probs, deltas[:, None], logits.sigmoid().amax(-1, keepdim=True))

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
        classifier, regressor = self.head.classification_head, self.head.regression_head
        chosen, labels, chosen_deltas, chosen_anchors = [], [], [], []
        for map_, anchor in zip(maps, anchors.split(per_level)):
            logits = classifier.cls_logits(classifier.conv(map_))[0].reshape(
                len(RATIOS) * len(OCTAVES), self.num_classes, -1
            )
            deltas = regressor.bbox_reg(regressor.conv(map_))[0].reshape(len(RATIOS) * len(OCTAVES), 4, -1)
            best, number, label = ops.best_pairs(logits, PRE_NMS)
            chosen.append(best)
            labels.append(label)
            chosen_deltas.append(deltas.permute(2, 0, 1).reshape(-1, 4)[number])
            chosen_anchors.append(anchor[number])
        boxes = clip_boxes(decode_boxes(torch.cat(chosen_deltas), torch.cat(chosen_anchors)), width, height)
        return ops.label_nms(
            boxes, torch.cat(chosen).sigmoid(), torch.cat(labels), self.num_classes, MIN_SCORE, BOX_NMS, max_detections
        )

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


@torch.no_grad()
def _choose_regions(matched: Tensor, logits: Tensor) -> Tensor:
    """Numbers of at most `VIEWED_ANCHORS` anchors: those matched to an object first, then the most confident others."""
    confidence = logits.float().amax(-1).sigmoid() + 2 * (matched >= 0)
    return confidence.topk(min(VIEWED_ANCHORS, len(confidence))).indices
