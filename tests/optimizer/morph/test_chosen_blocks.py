"""Weights of a block that was exchanged for another one in its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from optimizer.arch import ArchSpec, ChooseBlock, FasterRCNNHead, FpnSpec, uniform_importance
from optimizer.arch.families import PATH_SPACES
from optimizer.detectors import build_detector
from optimizer.detectors.base import Detector
from optimizer.morph import inherit, measure_moments, morph

Weights = dict[str, Tensor]
BODY = "backbone.body"
PLACES = [(0, 0), (2, 3), (3, 0)]  # two that head a stage, and one that does not
SIZE = (96, 64)


def make_path(choice: int, shuffle: str = "split") -> ArchSpec:
    head = FasterRCNNHead(rpn_width=16, box_width=16, region_proposals=10)
    return ArchSpec(SIZE, PATH_SPACES["shufflenetv2_20"].make((choice,) * 20, shuffle), FpnSpec(16), head)


def choose(weights: Weights, arch: ArchSpec, stage: int, block: int, choice: int) -> tuple[Weights, ArchSpec]:
    edit = ChooseBlock(stage, block, choice).apply(arch, uniform_importance(arch))
    return inherit(weights, edit), edit.child


def see(detector: Detector, images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return [*detector.backbone.body(images).values()]


@pytest.mark.parametrize("shuffle", ["split", "halves"])
def test_a_wider_kernel_computes_the_same(
    draw_weights: Callable[[ArchSpec, int], Weights],
    load: Callable[[Weights, ArchSpec], Detector],
    images: Tensor,
    shuffle: str,
) -> None:
    first = make_path(0, shuffle)
    before = see(load(draw_weights(first, 0), first), images)
    weights, arch = draw_weights(first, 0), first
    for choice in (1, 2):
        for stage, block in PLACES:
            weights, arch = choose(weights, arch, stage, block, choice)
    assert weights[f"{BODY}.stage3.3.branch.conv2.weight"].shape == (160, 1, 7, 7)
    for one, other in zip(before, see(load(weights, arch), images), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * one.abs().max().item())


@pytest.mark.parametrize("paths", [("branch.conv2", "stage3.3"), ("projection.conv1", "stage1.0")])
def test_a_narrower_kernel_keeps_its_centre(
    draw_weights: Callable[[ArchSpec, int], Weights], paths: tuple[str, str]
) -> None:
    arch = make_path(2)
    weights = draw_weights(arch, 0)
    conv, name = paths
    place = int(name[5]) - 1, int(name[7])
    middle, path = choose(weights, arch, *place, 1)
    small, _ = choose(middle, path, *place, 0)
    wide = weights[f"{BODY}.{name}.{conv}.weight"]
    assert torch.equal(middle[f"{BODY}.{name}.{conv}.weight"], wide[:, :, 1:6, 1:6])
    assert torch.equal(small[f"{BODY}.{name}.{conv}.weight"], wide[:, :, 2:5, 2:5])
    same = [key for key in weights if not key.endswith(("conv1.weight", "conv2.weight"))]
    assert all(torch.equal(weights[key], small[key]) for key in same)


@pytest.mark.parametrize(("stage", "block"), PLACES)
def test_an_xception_block_takes_over_what_fits_and_the_rest_begins_as_an_identity(
    draw_weights: Callable[[ArchSpec, int], Weights],
    load: Callable[[Weights, ArchSpec], Detector],
    stage: int,
    block: int,
) -> None:
    arch = make_path(1)
    weights = draw_weights(arch, 0)
    child, path = choose(weights, arch, stage, block, 3)
    load(child, path)
    name = f"{BODY}.stage{stage + 1}.{block}.branch"
    for new, old in ((2, 1), (6, 3)):
        assert torch.equal(child[f"{name}.conv{new}.weight"], weights[f"{name}.conv{old}.weight"])
        assert torch.equal(child[f"{name}.norm{new}.running_mean"], weights[f"{name}.norm{old}.running_mean"])
    assert torch.equal(child[f"{name}.conv3.weight"], weights[f"{name}.conv2.weight"][:, :, 1:4, 1:4])
    depthwise = child[f"{name}.conv1.weight"]
    assert torch.equal(depthwise.sum((1, 2, 3)), depthwise[:, 0, 1, 1]) and bool((depthwise[:, 0, 1, 1] == 1).all())
    assert torch.equal(child[f"{name}.conv4.weight"][:, :, 0, 0], torch.eye(len(child[f"{name}.conv4.weight"])))
    back, _ = choose(child, path, stage, block, 0)
    for conv in ("conv1.weight", "conv3.weight", "norm1.weight", "norm3.bias"):
        assert torch.equal(back[f"{name}.{conv}"], weights[f"{name}.{conv}"])


def test_a_chosen_block_leaves_the_moments_of_neck_and_head_alone() -> None:
    """What layers read behind the exchanged block is not what was measured; they are left as they are."""
    arch = make_path(0)
    detector = build_detector(arch, 3, seed=0).eval()
    weights = detector.state_dict()
    moments = measure_moments(detector, [torch.randn(1, 3, SIZE[1], SIZE[0])])
    action = ChooseBlock(1, 1, 3)
    plain, made_up = morph(weights, arch, [action]), morph(weights, arch, [action], moments=moments)
    assert all(torch.equal(plain.weights[name], tensor) for name, tensor in made_up.weights.items())
