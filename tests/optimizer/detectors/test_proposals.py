"""Region proposals chosen for all levels at once are those torchvision chooses level by level."""

from __future__ import annotations

import pytest
import torch

from optimizer.arch.families import base_arch
from optimizer.detectors import build_detector
from optimizer.detectors.faster_rcnn import ProposalNetwork


@pytest.mark.parametrize("training", [True, False])
def test_all_levels_at_once_give_the_same_proposals(training: bool) -> None:
    network = build_detector(base_arch("r18", (160, 128)), 3, seed=0).get_submodule("rpn").train(training)
    assert isinstance(network, ProposalNetwork)
    random, per_level = torch.Generator().manual_seed(0), [3840, 960, 240, 60, 15]
    corner = torch.rand(2, sum(per_level), 2, generator=random) * torch.tensor([160.0, 128.0]) - 10
    side = torch.rand(2, sum(per_level), 2, generator=random) * 60
    side[:, ::7] = 0  # of no area, left out
    places = torch.stack([torch.randperm(sum(per_level), generator=random) for _ in range(2)])
    proposals, objectness = torch.cat([corner, corner + side], -1), places / sum(per_level) * 4 - 2  # no two are equal
    expected = network.filter_proposals(proposals, objectness.reshape(-1, 1), [(128, 160)] * 2, per_level)
    found = network.filter_at_once(proposals, objectness.reshape(-1, 1), (128, 160), per_level)
    for one, other in zip([*expected[0], *expected[1]], [*found[0], *found[1]]):
        assert len(one) > 100
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
