"""The cells near objects are the teacher's, those that have an anchor there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from optimizer.distill.base import MapDistiller, Scene
from optimizer.distill.masks import draw_anchors

__all__ = ["AnchorMask"]

WEIGHT = 0.01  # the paper's code's, of a sum over channels


class AnchorMask(MapDistiller):
    """The squared difference, summed over channels, mean over the cells near objects (Wang 2019; FACTS 6).

    That cells are counted over all levels of a batch together is a reconstruction.

    Args:
        channels: of the teacher's neck.
        share: of the largest IoU an object has with any anchor, above which an anchor is near it (psi).
    """

    asks = frozenset(("anchors",))

    def __init__(self, channels: int, share: float = 0.5) -> None:
        super().__init__()
        self.channels, self.share = channels, share

    def forward(self, errors: Sequence[Tensor], scene: Scene) -> Tensor:
        shapes = [(error.shape[1], error.shape[2]) for error in errors]
        masks = draw_anchors(scene.truths, scene.list_anchors(), shapes, self.share)
        total = torch.stack([(error * mask).sum() for error, mask in zip(errors, masks)]).sum()
        count = torch.stack([mask.sum() for mask in masks]).sum()
        return WEIGHT * self.channels * total / (2 * count).clamp(min=1)
