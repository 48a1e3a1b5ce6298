"""A seed means the same first weights as in version 0.1.0."""

from __future__ import annotations

import torch
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from optimizer.arch.families import base_arch
from optimizer.detectors import build_detector


def test_the_coarser_levels_of_a_retinanet_are_drawn_before_its_body() -> None:
    detector = build_detector(base_arch("r18", (128, 96), detector="retinanet"), 3, seed=5)
    torch.manual_seed(5)
    width = detector.arch.maps[0].width
    first = LastLevelP6P7(width, width)
    found = detector.get_submodule("backbone.fpn.extra_blocks")
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in first.state_dict().items())
