"""Region proposals chosen for all levels at once are those torchvision chooses level by level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import nms

from optimizer.arch.families import base_arch
from optimizer.detectors import build_detector, faster_rcnn
from optimizer.detectors.faster_rcnn import ProposalNetwork
from optimizer.detectors.geometry import precise_sigmoid


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


@pytest.mark.parametrize("crowded", [False, True])
def test_few_proposals_are_torchvisions_to_the_last_bit(crowded: bool) -> None:
    network = build_detector(base_arch("r18", (160, 128), region_proposals=50), 3, seed=0).get_submodule("rpn").train()
    assert isinstance(network, ProposalNetwork)
    random, per_level = torch.Generator().manual_seed(1), [3840, 960, 240, 60, 15]
    corner = torch.rand(2, sum(per_level), 2, generator=random) * torch.tensor([160.0, 128.0]) - 10
    side = torch.rand(2, sum(per_level), 2, generator=random) * 60
    if crowded:  # hardly any is kept, so that all are looked at
        corner, side = corner * 0 + 20, side / 10 + 50
    side[:, ::7] = 0
    proposals, objectness = torch.cat([corner, corner + side], -1), torch.randn(2 * sum(per_level), 1, generator=random)
    asked = proposals, objectness, [(128, 160)] * 2, per_level
    expected = RegionProposalNetwork.filter_proposals(network, *asked)
    found = network.filter_proposals(*asked)
    for one, other in zip([*expected[0], *expected[1]], [*found[0], *found[1]], strict=True):
        assert (len(one) < 20) if crowded else (len(one) == 100)
        assert torch.equal(one, other)


def test_no_more_boxes_are_suppressed_than_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def count(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
        looked.append(len(boxes))
        return nms(boxes, scores, threshold)

    monkeypatch.setattr(faster_rcnn, "nms", count)
    left = torch.arange(1000.0) // 4 * 10  # every box is there four times
    boxes = torch.stack([left, left * 0, left + 10, left * 0 + 10], -1)
    scores = torch.linspace(1, 0.1, 1000)
    assert faster_rcnn.keep_best(boxes, scores, 0.7, 20).tolist() == list(range(0, 80, 4))
    assert looked == [40, 80]
    assert len(faster_rcnn.keep_best(boxes, scores, 0.7, 900)) == 250 and looked == [40, 80, 1000]


def test_unlikely_proposals_keep_their_order_in_onnx_runtime(tmp_path: Path) -> None:
    class Scores(nn.Module):
        def forward(self, logits: Tensor) -> Tensor:
            return precise_sigmoid(logits)

    logits = torch.linspace(-80, 10, 400)
    path = tmp_path / "scores.onnx"
    torch.onnx.export(Scores(), (logits,), path, dynamo=False, input_names=["logits"])
    (scores,) = onnxruntime.InferenceSession(path).run(None, {"logits": logits.numpy()})
    np.testing.assert_allclose(scores, logits.double().sigmoid(), rtol=1e-5)
    assert (np.diff(scores) > 0).all()
