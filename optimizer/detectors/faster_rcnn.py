"""Faster R-CNN with FPN, assembled from torchvision's parts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import nms

from optimizer.arch.heads import BOX_HEADS, FasterRCNNHead
from optimizer.arch.spec import ArchSpec
from optimizer.detectors.anchors import make_anchors
from optimizer.detectors.backbone import Backbone
from optimizer.detectors.base import ClassRows, Detector, GraphOps, Prediction, RegionSample, RegionView, Seen, Truth
from optimizer.detectors.geometry import big_enough, clip_boxes, decode_boxes, list_canvases, precise_sigmoid
from optimizer.detectors.region_pool import RegionPool

__all__ = ["FasterRCNN"]

RATIOS = (0.5, 1.0, 2.0)
PRE_NMS = 1000  # anchors per level that enter NMS at test time
RPN_NMS = 0.7
BOX_NMS = 0.5
MIN_SCORE = 0.05
MIN_SIDE = 1e-3
BY_LEVEL = 1000  # boxes of an image up to which torchvision suppresses them all at once


class WideRPNHead(RPNHead):
    """torchvision's RPN head with a free width: 3x3 to `rpn_width`, then 1x1 objectness and boxes."""

    def __init__(self, in_width: int, width: int, anchors: int) -> None:
        super().__init__(in_width, anchors)
        self.conv[0][0] = nn.Conv2d(in_width, width, 3, 1, 1)
        self.cls_logits = nn.Conv2d(width, anchors, 1)
        self.bbox_pred = nn.Conv2d(width, 4 * anchors, 1)
        for layer in (self.conv[0][0], self.cls_logits, self.bbox_pred):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)


class ProposalNetwork(RegionProposalNetwork):
    """torchvision's, which suppresses faster: on a GPU all levels of an image at once, on a CPU no more than it keeps.

    torchvision goes level by level where there are many boxes, as in training, and waits for the GPU a dozen times an
    image. Moved apart by level, the boxes of an image are one set: the same proposals but for rounding of the IoU.
    On a CPU it suppresses all boxes of a level, also where it takes far fewer; see `keep_best`.
    """

    def filter_proposals(
        self,
        proposals: Tensor,
        objectness: Tensor,
        image_shapes: list[tuple[int, int]],
        num_anchors_per_level: list[int],
    ) -> tuple[list[Tensor], list[Tensor]]:
        if proposals.device.type != "cpu":
            return self.filter_at_once(proposals, objectness, image_shapes[0], num_anchors_per_level)
        counts = [min(self.pre_nms_top_n(), count) for count in num_anchors_per_level]
        if max(counts) <= 2 * self.post_nms_top_n() or sum(counts) <= BY_LEVEL:
            return super().filter_proposals(proposals, objectness, image_shapes, num_anchors_per_level)
        return self.filter_by_level(proposals, objectness, image_shapes[0], num_anchors_per_level)

    def filter_by_level(
        self, proposals: Tensor, objectness: Tensor, canvas: tuple[int, int], per_level: list[int]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """As `filter_at_once`, and exactly torchvision's where that goes level by level."""
        objectness = objectness.detach().reshape(len(proposals), -1)
        best = self._get_top_n_idx(objectness, per_level)
        scores = objectness.gather(1, best).sigmoid()
        boxes = clip_boxes(proposals.gather(1, best[..., None].expand(-1, -1, 4)), canvas[1], canvas[0])
        good = (boxes[..., 2:] - boxes[..., :2] >= self.min_size).all(-1) & (scores >= self.score_thresh)
        counts = [min(self.pre_nms_top_n(), count) for count in per_level]
        found = []
        for image in zip(boxes, scores, good):
            kept_boxes, kept_scores = [], []
            for box, score, is_good in zip(*(values.split(counts) for values in image)):
                box, score = box[is_good], score[is_good]
                kept = keep_best(box, score, self.nms_thresh, self.post_nms_top_n())
                kept_boxes.append(box[kept])
                kept_scores.append(score[kept])
            ordered, order = torch.cat(kept_scores).sort(descending=True, stable=True)
            found.append((torch.cat(kept_boxes)[order[: self.post_nms_top_n()]], ordered[: self.post_nms_top_n()]))
        return [box for box, _ in found], [score for _, score in found]

    def filter_at_once(
        self, proposals: Tensor, objectness: Tensor, canvas: tuple[int, int], per_level: list[int]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Of each image at most `post_nms_top_n` boxes (N, 4) and scores (N,), best first.

        Args:
            proposals: (B, A, 4); objectness: logits (B * A, 1), level by level; canvas: (height, width) of all images.
        """
        objectness = objectness.detach().reshape(len(proposals), -1)
        best = self._get_top_n_idx(objectness, per_level)
        scores = objectness.gather(1, best).sigmoid().float()
        boxes = proposals.float().gather(1, best[..., None].expand(-1, -1, 4))
        boxes = clip_boxes(boxes, canvas[1], canvas[0])
        counts = [min(self.pre_nms_top_n(), count) for count in per_level]
        shifts = [torch.full((count, 1), level * (max(canvas) + 1.0)) for level, count in enumerate(counts)]
        apart = boxes + torch.cat(shifts).to(boxes.device)
        good = (boxes[..., 2:] - boxes[..., :2] >= self.min_size).all(-1) & (scores >= self.score_thresh)
        found = []
        for box, moved, score, is_good in zip(boxes, apart, torch.where(good, scores, -1.0), good):
            kept = nms(moved, score, self.nms_thresh)  # those that are not good are last, and suppress no good one
            kept = kept[is_good[kept]][: self.post_nms_top_n()]
            found.append((box[kept], score[kept]))
        return [box for box, _ in found], [score for _, score in found]


class FasterRCNN(Detector):
    """Two stages: region proposals on P2 to P6, then a box head on RoI features of P2 to P5.

    Labels are counted from 0 outside and from 1 inside, where 0 is the background.
    """

    class_layers = {
        "roi_heads.box_predictor.cls_score": ClassRows(),
        "roi_heads.box_predictor.bbox_pred": ClassRows(values=4),
    }
    head_groups = {"rpn.": "RPN", "roi_heads.box_head.": "box head"}
    has_background = True

    def __init__(self, arch: ArchSpec, num_classes: int) -> None:
        super().__init__()
        head, width = arch.head, arch.maps[0].width
        assert isinstance(head, FasterRCNNHead)
        self.arch, self.num_classes = arch, num_classes
        self.backbone = Backbone(arch)
        sides = tuple((head.anchor_scale * stride,) for stride in head.levels.strides)
        anchors = make_anchors(sides, RATIOS, head.levels.strides, head.exact_anchors)
        self.rpn = ProposalNetwork(
            anchors,
            WideRPNHead(width, head.rpn_width, len(RATIOS)),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 2000, "testing": PRE_NMS},
            post_nms_top_n={"training": min(2000, 2 * head.region_proposals), "testing": head.region_proposals},
            nms_thresh=RPN_NMS,
        )
        self.roi_heads = RoIHeads(
            RegionPool(["0", "1", "2", "3"], output_size=7, sampling_ratio=2),
            make_box_head(head, width),
            FastRCNNPredictor(head.box_width, num_classes + 1),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=count_box_samples(head.region_proposals),
            positive_fraction=0.25,
            bbox_reg_weights=None,
            score_thresh=MIN_SCORE,
            nms_thresh=BOX_NMS,
            detections_per_img=100,
        )

    def losses_and_regions(
        self, images: Tensor, truths: list[Truth], with_view: bool = False, seen: Seen | None = None
    ) -> tuple[dict[str, Tensor], list[Tensor], RegionView | None]:
        targets = _list_targets(truths)
        maps = (seen or self.see(images)).neck
        canvases = list_canvases(images)
        proposals, rpn_losses = self.rpn(canvases, maps, targets)
        regions, _, labels, box_targets = self.roi_heads.select_training_samples(proposals, targets)
        features, logits, deltas = self._look(maps, regions, images)
        loss_classifier, loss_box_reg = fastrcnn_loss(logits, deltas, labels, box_targets)
        losses = {**rpn_losses, "loss_classifier": loss_classifier, "loss_box_reg": loss_box_reg}
        return losses, regions, self._make_view(features, logits, deltas) if with_view else None

    def view(
        self, images: Tensor, regions: list[Tensor], canvas: tuple[int, int], seen: Seen | None = None
    ) -> RegionView:
        scale = min(images.shape[-1] / canvas[0], images.shape[-2] / canvas[1])
        maps = (seen or self.see(images)).neck
        return self._make_view(*self._look(maps, [region * scale for region in regions], images))

    @torch.no_grad()
    def sample(self, images: Tensor, truths: list[Truth], seen: Seen) -> RegionSample:
        assert not self.training
        proposals, _ = self.rpn(list_canvases(images), seen.neck)
        regions, _, labels, _ = self.roi_heads.select_training_samples(proposals, _list_targets(truths))
        return RegionSample(regions, torch.cat(labels) > 0)

    def list_anchors(self, images: Tensor, seen: Seen) -> list[Tensor]:
        maps = list(seen.neck.values())
        anchors = self.rpn.anchor_generator(list_canvases(images), maps)[0]
        return list(anchors.split([len(RATIOS) * map_.shape[-2] * map_.shape[-1] for map_ in maps]))

    def _look(self, maps: dict[str, Tensor], regions: list[Tensor], images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """RoI features, class logits and box deltas of the regions."""
        features = self.roi_heads.box_roi_pool(maps, regions, list_canvases(images).image_sizes)
        return features, *self.roi_heads.box_predictor(self.roi_heads.box_head(features))

    def _make_view(self, features: Tensor, logits: Tensor, deltas: Tensor) -> RegionView:
        log_probs = functional.log_softmax(logits.float(), -1)
        deltas = deltas.float().reshape(-1, self.num_classes + 1, 4)[:, 1:]  # the background's are not trained
        return RegionView(features.float(), log_probs[:, None], deltas, log_probs[:, 1:].exp())

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Prediction]:
        assert not self.training
        maps = self.backbone(images)
        canvases = list_canvases(images)
        proposals, _ = self.rpn(canvases, maps)
        found, _ = self.roi_heads(maps, proposals, canvases.image_sizes)
        return [Prediction(item["boxes"], item["scores"], item["labels"] - 1) for item in found]

    def raw(self, images: Tensor, ops: GraphOps, max_detections: int = 100) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        height, width = images.shape[-2:]
        maps = list(self.backbone(images).values())
        rois, valid = self._propose(images, maps, ops)
        features = self.roi_heads.box_head(ops.roi_align(maps[:4], rois))
        logits, deltas = self.roi_heads.box_predictor(features)
        scores = functional.softmax(logits, -1)[:, 1:].t() * valid
        # coordinate, class, roi: in this order the arithmetic on the large arrays is contiguous
        deltas = deltas.reshape(-1, self.num_classes + 1, 4)[:, 1:].permute(2, 1, 0)
        boxes = decode_boxes(deltas, rois.t()[:, None], self.roi_heads.box_coder.weights, axis=0)
        boxes = clip_boxes(boxes, width, height, axis=0)
        scores = scores * big_enough(boxes, 1e-2, axis=0)
        return ops.class_nms(boxes.permute(2, 1, 0), scores.t(), MIN_SCORE, BOX_NMS, max_detections)

    def _propose(self, images: Tensor, maps: list[Tensor], ops: GraphOps) -> tuple[Tensor, Tensor]:
        """Region proposals (R, 4) of one canvas and whether each is one (R,), as 0 or 1."""
        height, width = images.shape[-2:]
        assert isinstance(self.arch.head, FasterRCNNHead)
        count = self.arch.head.region_proposals
        objectness, deltas = self.rpn.head(maps)
        anchors = self.rpn.anchor_generator(list_canvases(images), maps)[0]
        per_level = [level[0].numel() for level in objectness]
        chosen, chosen_deltas, chosen_anchors, sizes = [], [], [], []
        for logits, delta, anchor in zip(objectness, deltas, anchors.split(per_level)):
            sizes.append(min(PRE_NMS, int(anchor.shape[0])))
            best, index = ops.topk(logits[0].permute(1, 2, 0).reshape(-1), sizes[-1])
            delta = delta[0].reshape(-1, 4, *delta.shape[-2:]).permute(2, 3, 0, 1).reshape(-1, 4)
            chosen.append(best)
            chosen_deltas.append(delta[index])
            chosen_anchors.append(anchor[index])
        boxes = clip_boxes(decode_boxes(torch.cat(chosen_deltas), torch.cat(chosen_anchors)), width, height)
        good = big_enough(boxes, MIN_SIDE)
        scores = precise_sigmoid(torch.cat(chosen)) * good - (1 - good)
        boxes, scores = ops.nms_of_levels(list(boxes.split(sizes)), list(scores.split(sizes)), RPN_NMS, count)
        best, index = ops.topk(scores, min(count, sum(min(count, size) for size in sizes)))
        return boxes[index], (best >= 0).to(best.dtype)


def keep_best(boxes: Tensor, scores: Tensor, threshold: float, count: int) -> Tensor:
    """The first `count` indices of `nms`, looking no further down the scores than it takes to find them.

    Greedy suppression of the best boxes is the beginning of that of all: a box is only suppressed by better ones. The
    time of `nms` on a CPU grows with the boxes times those that are kept.

    Args:
        boxes: (N, 4) xyxy; scores: (N,), the best first.
    """
    looked = 2 * count
    while True:
        kept = nms(boxes[:looked], scores[:looked], threshold)
        if len(kept) >= count or looked >= len(boxes):
            return kept[:count]
        looked *= 2


def _list_targets(truths: list[Truth]) -> list[dict[str, Tensor]]:
    """The objects as torchvision's parts want them, the first class 1."""
    return [{"boxes": truth.boxes_xyxy, "labels": truth.labels + 1} for truth in truths]


def make_box_head(head: FasterRCNNHead, width: int) -> nn.Module:
    """The layers between RoI features of this width and the predictors, under torchvision's names."""
    convs = BOX_HEADS[head.box_head]
    if not convs:
        return TwoMLPHead(width * 7 * 7, head.box_width)
    return FastRCNNConvFCHead((width, 7, 7), [width] * convs, [head.box_width], norm_layer=nn.BatchNorm2d)


def count_box_samples(region_proposals: int) -> int:
    """RoIs an image that train the box head: the usual 512 at the papers' 1000 proposals, fewer with fewer.

    RoIAlign's backward pass is the dearest part of a training step on a CPU and grows with this number.
    """
    return 512 if region_proposals >= 1000 else max(64, region_proposals // 2)
