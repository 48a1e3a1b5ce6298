"""Edits that ought not to change what a detector computes."""

import pytest
import torch

from optimizer.arch import AddLayer, uniform_importance
from optimizer.morph import inherit


def compute_maps(detector, images):
    """The backbone's stages and the pyramid's levels."""
    with torch.no_grad():
        return [*detector.backbone.body(images).values(), *detector.backbone(images).values()]


def zero_channel(weights, norm, channel):
    weights[f"{norm}.weight"][channel] = 0
    weights[f"{norm}.bias"][channel] = 0


def assert_same_maps(before, after):
    assert len(before) == len(after) > 0
    for one, other in zip(before, after):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stage", range(4))
def test_an_added_layer_is_an_identity_on_arrival(arch, draw_weights, load, images, stage):
    weights = draw_weights(arch, 0)
    edit = AddLayer(stage).apply(arch, uniform_importance(arch))
    added = load(inherit(weights, edit), edit.child)
    before, after = compute_maps(load(weights, arch), images), compute_maps(added, images)
    assert edit.child.body.depths[stage] == arch.body.depths[stage] + 1
    assert len(before) == len(after)
    assert all(torch.equal(one, other) for one, other in zip(before, after))


@pytest.mark.parametrize("stage", range(4))
def test_an_added_layer_can_learn(archs, draw_weights, load, images, stage):
    for kind in ("basic", "bottleneck", "resnext"):
        arch = archs[kind]
        edit = AddLayer(stage).apply(arch, uniform_importance(arch))
        detector = load(inherit(draw_weights(arch, 0), edit), edit.child).train()
        sum(level.square().sum() for level in detector.backbone(images).values()).backward()
        block = getattr(detector.backbone.body, f"layer{stage + 1}")[-1]
        last_norm = block.bn2 if kind == "basic" else block.bn3
        assert last_norm.weight.grad.abs().max() > 0


def test_dropping_zeroed_channels_inside_blocks_preserves_the_function(arch, draw_weights, edit_widths, load, images):
    weights = draw_weights(arch, 0)
    generator = torch.Generator().manual_seed(3)
    widths = {}
    for group in arch.body.channel_groups():
        if not group.names[0].startswith("inner"):
            continue
        size = group.group_width or 1
        dropped = torch.randperm(group.width // size, generator=generator)[: max(1, group.width // size // 3)]
        for stage, block, conv in group.sites:
            for channel in (dropped[:, None] * size + torch.arange(size)).flatten():
                zero_channel(weights, f"backbone.body.layer{stage + 1}.{block}.bn{conv + 1}", channel)
            widths[stage, block, conv] = group.width - len(dropped) * size
    edit = edit_widths(arch, widths)
    narrow = load(inherit(weights, edit), edit.child)
    assert_same_maps(compute_maps(load(weights, arch), images), compute_maps(narrow, images))


@pytest.mark.parametrize("kind", ["basic", "bottleneck", "retinanet", "centernet"])
def test_dropping_zeroed_channels_of_the_streams_preserves_the_function(
    archs, draw_weights, edit_widths, load, images, kind
):
    arch = archs[kind]
    weights = draw_weights(arch, 0)
    generator = torch.Generator().manual_seed(3)
    widths, kept = {}, {}
    for group in arch.body.channel_groups():
        if not group.names[0].startswith("stream"):
            continue
        order = torch.randperm(group.width, generator=generator)
        dropped, kept[group.sites[0][0]] = order[:5], order[5:].sort().values
        for stage, block, conv in group.sites:
            widths[stage, block, conv] = group.width - 5
            for channel in dropped:
                zero_channel(weights, f"backbone.body.layer{stage + 1}.{block}.bn{conv + 1}", channel)
        for channel in dropped:
            zero_channel(weights, f"backbone.body.layer{group.sites[0][0] + 1}.0.downsample.1", channel)
    edit = edit_widths(arch, widths)
    wide, narrow = load(weights, arch), load(inherit(weights, edit), edit.child)
    with torch.no_grad():
        assert_same_maps(list(wide.backbone(images).values()), list(narrow.backbone(images).values()))
        last = wide.backbone.body(images).popitem()[1][:, kept[3]]
        assert_same_maps([last], [narrow.backbone.body(images).popitem()[1]])
