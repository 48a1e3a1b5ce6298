"""Layers whose weights lie the other way round: what is dropped on either side of a transposed convolution."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from optimizer.arch import (
    ArchSpec,
    CenterNetHead,
    DeconvSpec,
    Edit,
    PruneBranches,
    PruneChannels,
    PruneDeconv,
    uniform_importance,
)
from optimizer.detectors import Detector, build_detector
from optimizer.morph import compensate, inherit, measure_moments, morph

DECONV = "backbone.deconv"
CLASSES = 3


@pytest.fixture
def arch(archs) -> ArchSpec:
    return replace(archs["basic"], neck=DeconvSpec(16, 20, 24), head=CenterNetHead(12))


@pytest.fixture
def weights(arch: ArchSpec) -> dict[str, Tensor]:
    """Weights of which no two channels are alike, and statistics that are not those of a start."""
    generator = torch.Generator().manual_seed(0)
    drawn = build_detector(arch, CLASSES, seed=0).state_dict()
    for name, tensor in drawn.items():
        if name.endswith("running_var") or (f"{name.removesuffix('weight')}running_var" in drawn):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif not name.startswith("backbone.body") and tensor.is_floating_point():
            tensor.normal_(0, 0.1, generator=generator)
    return drawn


def load(weights: dict[str, Tensor], arch: ArchSpec) -> Detector:
    detector = build_detector(arch, CLASSES)
    detector.load_state_dict(weights)
    return detector


def look(detector: Detector, images: Tensor) -> list[Tensor]:
    """Heat map, sizes and offsets."""
    with torch.no_grad():
        (map_,) = detector.backbone(images).values()
        return [branch(map_) for branch in detector.get_submodule("head").children()]


def edit_by(action, arch: ArchSpec) -> Edit:
    return action.apply(arch, uniform_importance(arch))


def test_dropping_channels_that_a_norm_silences_preserves_the_function(
    arch: ArchSpec, weights: dict[str, Tensor], images: Tensor
) -> None:
    for layer, width in enumerate((16, 20, 24)):
        silent = torch.randperm(width, generator=torch.Generator().manual_seed(layer))[: width // 4]
        for vector in ("weight", "bias"):
            weights[f"{DECONV}.{layer}.norm.{vector}"][silent] = 0
    edit = edit_by(PruneDeconv(0.25, 1, 1), arch)
    assert edit.child.neck == DeconvSpec(12, 15, 18)
    child = inherit(weights, edit)
    assert child[f"{DECONV}.1.conv.weight"].shape == (12, 15, 4, 4)
    before, after = (
        look(load(weights, arch).double(), images.double()),
        look(load(child, edit.child).double(), images.double()),
    )
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)


def test_what_stays_are_the_greatest_scales_in_their_order(arch: ArchSpec, weights: dict[str, Tensor]) -> None:
    child = inherit(weights, edit_by(PruneDeconv(0.25, 1, 1), arch))
    scales = weights[f"{DECONV}.2.norm.weight"]
    kept = scales.abs().argsort(descending=True)[:18].sort().values
    for vector in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(child[f"{DECONV}.2.norm.{vector}"], weights[f"{DECONV}.2.norm.{vector}"][kept])
    assert torch.equal(child["head.size.0.weight"], weights["head.size.0.weight"][:, kept])


def test_pruning_the_body_slices_what_a_transposed_convolution_reads(
    arch: ArchSpec, weights: dict[str, Tensor], images: Tensor
) -> None:
    edit = edit_by(PruneChannels(0.8, 4, 4), arch)
    width = edit.child.body_maps[-1].width
    assert width < arch.body_maps[-1].width
    child = inherit(weights, edit)
    assert child[f"{DECONV}.0.conv.weight"].shape == (width, 16, 4, 4)
    for (stage, index, block), (_, _, smaller) in zip(arch.body.blocks(), edit.child.body.blocks()):
        assert len(block.widths) == len(smaller.widths), (stage, index)
    assert len(load(child, edit.child).detect(images)) == len(images)


def test_branches_are_narrowed_each_by_its_own_filters(
    arch: ArchSpec, weights: dict[str, Tensor], images: Tensor
) -> None:
    for branch, silent in (("heatmap", [0, 5, 7]), ("size", [1, 2, 3]), ("offset", [11, 9, 4])):
        for kind in ("weight", "bias"):
            weights[f"head.{branch}.0.{kind}"][silent] = 0
    edit = edit_by(PruneBranches(0.25, 1, 1), arch)
    before = look(load(weights, arch).double(), images.double())
    after = look(load(inherit(weights, edit), edit.child).double(), images.double())
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)


def test_a_channel_that_doubles_another_is_dropped_without_a_trace(
    arch: ArchSpec, weights: dict[str, Tensor], images: Tensor
) -> None:
    """The last channel of the first layer is twice the first one: what it said to its reader, that one now says too."""
    norm, width = f"{DECONV}.0.norm", 16
    weights[f"{DECONV}.0.conv.weight"][:, width - 1] = weights[f"{DECONV}.0.conv.weight"][:, 0]
    for vector in ("running_mean", "running_var"):
        weights[f"{norm}.{vector}"][width - 1] = weights[f"{norm}.{vector}"][0]
    for vector in ("weight", "bias"):
        weights[f"{norm}.{vector}"][width - 1] = 2 * weights[f"{norm}.{vector}"][0]
    falling = {f"{DECONV}.{layer}.norm.weight": torch.arange(float(n), 0, -1) for layer, n in enumerate((16, 20, 24))}
    narrow = replace(arch, neck=replace(arch.neck, width_16=15))
    edit = Edit(arch, narrow, edit_by(PruneDeconv(0.25, 1, 1), arch).sources)
    folded, left = compensate(weights, edit, measure_moments(load(weights, arch), [images]), weights | falling)
    child = inherit(folded, edit, weights | falling)
    before, after = (look(load(each, of), images) for each, of in ((weights, arch), (child, narrow)))
    plain = look(load(inherit(weights, edit, weights | falling), narrow), images)
    for one, fitted, cut in zip(before, after, plain, strict=True):
        assert (one - fitted).abs().max() < 0.1 * (one - cut).abs().max()
    assert len(left[f"{DECONV}.1.conv"].mean) == 15


def test_a_chain_of_actions_leads_to_a_detector_that_runs(
    arch: ArchSpec, weights: dict[str, Tensor], images: Tensor
) -> None:
    student = morph(weights, arch, [PruneChannels(0.2, 4, 4), PruneDeconv(0.3, 2, 2), PruneBranches(0.3, 2, 2)])
    assert len(load(student.weights, student.arch).detect(images)) == len(images)
