"""BatchNorm statistics measured anew, against an average taken by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from optimizer.arch import ArchSpec, BlockSpec, FasterRCNNHead, FpnSpec, ResNetSpec, StageSpec
from optimizer.detectors import build_detector
from optimizer.supernet.calibrate import recalibrate

CPU = torch.device("cpu")


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(4)
    return [torch.randn(2, 3, 64, 80, generator=generator) + shift for shift in (0.0, 0.5, -1.0)]


def list_norms(detector):
    return {name: module for name, module in detector.named_modules() if isinstance(module, nn.BatchNorm2d)}


def average_by_hand(detector, batches):
    """Means and unbiased variances of what enters each BatchNorm in training mode, averaged over the batches."""
    seen = {}
    for name, norm in list_norms(detector).items():
        norm.train().register_forward_pre_hook(
            lambda _, inputs, name=name: seen.setdefault(name, []).append(
                (inputs[0].mean((0, 2, 3)), inputs[0].transpose(0, 1).flatten(1).var(1))
            )
        )
    with torch.no_grad():
        for images in batches:
            detector.backbone(images)
    return {name: [torch.stack(part).mean(0) for part in zip(*values)] for name, values in seen.items()}


def test_statistics_are_the_plain_averages_over_the_batches(space, make_supernet, batches):
    detector = make_supernet(space)
    expected = average_by_hand(copy.deepcopy(detector), batches)
    recalibrate(detector, batches, CPU)
    norms = list_norms(detector)
    assert expected.keys() == norms.keys()
    for name, norm in norms.items():
        mean, variance = expected[name]
        torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, variance, rtol=1e-4, atol=1e-5)
        assert norm.num_batches_tracked == 3


def test_what_the_statistics_were_before_does_not_matter(space, make_supernet, batches):
    detector, other = make_supernet(space), make_supernet(space)
    for norm in list_norms(other).values():
        norm.running_mean.fill_(7.0)
        norm.running_var.fill_(9.0)
        norm.num_batches_tracked.fill_(11)
    recalibrate(detector, batches, CPU)
    recalibrate(other, batches, CPU)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in detector.state_dict().items())


def test_weights_stay_and_evaluation_mode_and_momentum_are_left_behind(space, make_supernet, batches):
    detector = make_supernet(space).train()
    norms = list(list_norms(detector).values())
    norms[0].momentum = 0.03
    momenta = [norm.momentum for norm in norms]
    before = {name: parameter.clone() for name, parameter in detector.named_parameters()}
    recalibrate(detector, iter(batches), CPU)
    assert all(torch.equal(before[name], parameter) for name, parameter in detector.named_parameters())
    assert not any(module.training for module in detector.modules())
    assert [norm.momentum for norm in norms] == momenta and momenta[:2] == [0.03, 0.1]
    assert all(parameter.requires_grad and parameter.grad is None for parameter in detector.parameters())


def test_a_box_head_with_batchnorms_is_measured_on_the_regions(batches):
    head = FasterRCNNHead(rpn_width=8, box_width=8, region_proposals=10, box_head="conv4fc1")
    stages = tuple(StageSpec((BlockSpec((8, 8), 1 + (stage > 0), projection=stage > 0),)) for stage in range(4))
    detector = build_detector(ArchSpec((80, 64), ResNetSpec(stages, stem_width=8), FpnSpec(8), head), 2, seed=0)
    recalibrate(detector, batches, CPU)
    norms = {name: norm for name, norm in list_norms(detector).items() if name.startswith("roi_heads")}
    assert len(norms) == 4 and {int(norm.num_batches_tracked) for norm in norms.values()} == {3}
    assert all((norm.running_var != 1).any() and norm.running_var.isfinite().all() for norm in norms.values())
