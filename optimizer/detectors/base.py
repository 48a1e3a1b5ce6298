"""What every detector can do. It never resizes or normalises: images arrive on the canvas, normalised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from optimizer.arch.spec import ArchSpec

BACKGROUND = "__background__"  # as torchvision names it


class Truth(NamedTuple):
    """Objects of one training image: boxes_xyxy (N, 4) float canvas pixels, labels (N,) int64, first class 0."""

    boxes_xyxy: Tensor
    labels: Tensor


class Prediction(NamedTuple):
    """Objects found in one canvas, best first: boxes_xyxy (N, 4) pixels, scores (N,), labels (N,), first class 0."""

    boxes_xyxy: Tensor
    scores: Tensor
    labels: Tensor


class RegionView(NamedTuple):
    """What a detector says of regions of a batch, in one form for both kinds of head: what distillers compare.

    Attributes:
        features: (R, C, 7, 7) RoI features on the pyramid.
        log_probs: (R, G, K) log-probabilities of G distributions over K outcomes a region: one over background and
            classes (Faster R-CNN), or one over "is it / is it not" for each class (RetinaNet).
        deltas: (R, D, 4) box regression outputs: one box for each class, or one in all.
        delta_probs: (R, D) probability that a region is what its delta is for.
    """

    features: Tensor
    log_probs: Tensor
    deltas: Tensor
    delta_probs: Tensor


class RegionSample(NamedTuple):
    """Regions that a detector would train its head on, chosen among its own.

    Attributes:
        regions: of each image, in the form of `Detector.losses_and_regions`.
        positive: (R,) whether each, of all images in order, is matched to an object.
    """

    regions: list[Tensor]
    positive: Tensor


@dataclass(frozen=True)
class Seen:
    """What a detector makes of a batch before its head, kept to be looked at more than once.

    Attributes:
        body, neck: maps (B, C, h, w) by name, the finest first.
        outputs: what the head says of all cells at once, where it does; filled when it is first asked for.
    """

    body: dict[str, Tensor]
    neck: dict[str, Tensor]
    outputs: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassRows:
    """How the rows of a class layer's weight and bias lie: first by anchor, then by outcome, then by value.

    Attributes:
        anchors: of a cell, each with rows of its own.
        values: rows of one outcome.
    """

    anchors: int = 1
    values: int = 1

    def split(self, tensor: Tensor) -> Tensor:
        """A view (anchors, outcomes, values, ...) of a tensor of the layer."""
        return tensor.view(self.anchors, -1, self.values, *tensor.shape[1:])


class GraphOps(Protocol):
    """Fixed-shape pieces that `Detector.raw` is written with; `deploy.export` supplies them.

    They compute the same thing in eager PyTorch and as ONNX operators, for one image.
    """

    def topk(self, scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The ``count`` largest of (N,), descending, with their indices; fewer where N is smaller."""
        ...

    def best_pairs(self, scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The ``count`` best pairs of anchor and class of scores (A, C, cells), or all: scores (K,) descending,
        numbers of the anchors (cell by cell, so that A of them share a cell), and of the classes.
        """
        ...

    def nms_of_levels(
        self, boxes: list[Tensor], scores: list[Tensor], iou_threshold: float, keep: int
    ) -> tuple[Tensor, Tensor]:
        """Greedy NMS within each list of boxes (N, 4) by (N,), whose scores descend where they are not negative.

        Returns all lists' boxes (M, 4) and scores (M,), list by list, among them at least the best ``keep`` of those
        each list keeps; all other rows have score -1 and an arbitrary box. A negative score is never kept.
        """
        ...

    def roi_align(self, maps: list[Tensor], rois: Tensor) -> Tensor:
        """7x7 RoI features (R, C, 7, 7) of (R, 4) canvas boxes on P2..P5 (each (1, C, h, w)); levels by FPN's rule.

        Equal to torchvision's MultiScaleRoIAlign(["0".."3"], 7, sampling_ratio=2).
        """
        ...

    def class_nms(
        self, boxes: Tensor, scores: Tensor, score_threshold: float, iou_threshold: float, max_detections: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """NMS within each class: boxes (R, C, 4) or (R, 1, 4), scores (R, C).

        Returns boxes (K, 4), scores (K,), labels (K,) int64, count (1,) int64, with K = max_detections, best first;
        rows from ``count`` on are zeros.
        """
        ...

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
        ...

    def without_nms(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, score_threshold: float, max_detections: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What `label_nms` returns, of boxes (R, 4) of which none is dropped for another; scores (R,) descend."""
        ...


class Detector(nn.Module):
    """Base class. Subclasses are built from an `ArchSpec` and a number of classes.

    State-dict names are torchvision's (``backbone.body.layer1.0.conv1.weight``, ``backbone.fpn.inner_blocks...``,
    ``rpn.head...``, ``roi_heads...``, ``head...``), so that its checkpoints load and `morph` has one naming.

    Attributes:
        class_layers: the layers whose shape depends on the number of classes, and how their rows lie.
        head_groups: how the names of the head's other tensors begin, and what a person calls those.
        has_background: whether the first outcome of its class layers is the background.
    """

    class_layers: ClassVar[Mapping[str, ClassRows]] = {}
    head_groups: ClassVar[Mapping[str, str]] = {}
    has_background: ClassVar[bool] = False

    arch: ArchSpec
    num_classes: int
    backbone: nn.Module

    def see(self, images: Tensor) -> Seen:
        """The maps of body and neck of a batch (B, 3, H, W)."""
        body: dict[str, Tensor] = {}
        return Seen(body=body, neck=self.backbone(images, body))

    def losses(self, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        """Named losses (scalars) of a batch (B, 3, H, W); an image may have no objects."""
        return self.losses_and_regions(images, truths)[0]

    def losses_and_regions(
        self, images: Tensor, truths: list[Truth], with_view: bool = False, seen: Seen | None = None
    ) -> tuple[dict[str, Tensor], list[Tensor], RegionView | None]:
        """`losses`, and with `with_view` some regions of each image and what the detector says of them.

        A region is a box (N, 4) on the canvas in a Faster R-CNN: those its head is trained on. In a RetinaNet it is the
        number of an anchor (N,): those matched to objects first, then the most confident others. `seen` is what `see`
        gave for these images, if that was asked before.
        """
        raise TypeError(f"{type(self).__name__} does not define losses_and_regions")

    def view(
        self, images: Tensor, regions: list[Tensor], canvas: tuple[int, int], seen: Seen | None = None
    ) -> RegionView:
        """What this detector says of another one's regions.

        Args:
            canvas: (width, height) of the other one's canvas, which lies scaled in the upper left of these images.
            seen: what `see` gave for these images, if that was asked before.
        """
        raise TypeError(f"{type(self).__name__} does not define view")

    def sample(self, images: Tensor, truths: list[Truth], seen: Seen) -> RegionSample:
        """Regions of each image that this detector, in evaluation mode, would train its head on: its own proposals."""
        raise TypeError(f"{type(self).__name__} does not define sample")

    def list_anchors(self, images: Tensor, seen: Seen) -> list[Tensor]:
        """The anchors (h * w * A, 4) of each level of the neck, on the canvas of these images, cell by cell."""
        raise TypeError(f"{type(self).__name__} does not define list_anchors")

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Prediction]:
        """At most 100 objects per image, best first."""
        raise TypeError(f"{type(self).__name__} does not define detect")

    def raw(self, images: Tensor, ops: GraphOps, max_detections: int = 100) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The detection graph of one canvas (1, 3, H, W) with fixed shapes, for export.

        Returns what `GraphOps.class_nms` returns; equal to `detect` up to float precision.
        """
        raise TypeError(f"{type(self).__name__} does not define raw")

    def forward(self, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        """Alias of `losses`, so that wrappers see one call."""
        return self.losses(images, truths)
