"""A slice of a super-network beside the static network it stands for."""

from __future__ import annotations

import pytest
import torch

from optimizer.arch.macs import count
from optimizer.detectors import build_detector
from optimizer.supernet.elastic import ask_slice, rank_channels, slice_weights

NUM_CLASSES = 3


def extract(supernet, arch):
    """A static detector with the slice's weights, loaded strictly."""
    static = build_detector(arch, NUM_CLASSES)
    static.load_state_dict(slice_weights(supernet.state_dict(), arch), strict=True)
    return static


# What has the channels of the body's blocks for outputs or inputs.
MOVES = ("backbone.body.layer", "backbone.fpn.inner_blocks", "backbone.deconv.0.conv")


def run_slice(supernet, arch, images, truths, with_view=False):
    return ask_slice(supernet, arch, lambda detector: detector.losses_and_regions(images, truths, with_view))


def cut(tensor, like):
    return tensor[tuple(slice(size) for size in like.shape)] if like.ndim else tensor


def test_a_slice_loads_strictly_into_the_static_network(space, make_supernet, list_members):
    supernet = make_supernet(space)
    for subnet in list_members(space):
        arch = space.arch(subnet)
        static = extract(supernet, arch)
        assert sum(p.numel() for p in static.parameters()) == count(arch, NUM_CLASSES).params


def test_the_slice_of_the_largest_member_is_the_super_network(space, make_supernet):
    supernet = make_supernet(space)
    sliced = slice_weights(supernet.state_dict(), supernet.arch)
    assert sliced.keys() == supernet.state_dict().keys()
    assert all(torch.equal(sliced[name], tensor) for name, tensor in supernet.state_dict().items())


def test_a_slice_holds_first_channels_of_first_blocks_and_is_a_view(space, make_supernet):
    weights = make_supernet(space).state_dict()
    sliced = slice_weights(weights, space.arch(space.smallest()))
    assert set(sliced) < set(weights)
    for name, tensor in sliced.items():
        assert torch.equal(tensor, cut(weights[name], tensor))
        assert tensor.untyped_storage().data_ptr() == weights[name].untyped_storage().data_ptr()
    narrowed = [name for name in sliced if sliced[name].shape != weights[name].shape]
    assert narrowed and all(name.startswith(MOVES) for name in narrowed)


def test_a_subnets_losses_are_those_of_the_extracted_network(space, make_supernet, list_members, images, truths):
    for subnet in list_members(space):
        supernet = make_supernet(space).train()
        static = extract(supernet, space.arch(subnet)).train()
        torch.manual_seed(5)
        arch = space.arch(subnet)
        regions_too = "regions" in arch.head.readable
        losses, regions, view = run_slice(supernet, arch, images, truths, with_view=regions_too)
        torch.manual_seed(5)
        expected, expected_regions, expected_view = static.losses_and_regions(images, truths, with_view=regions_too)
        torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(regions, expected_regions, rtol=1e-4, atol=1e-4)
        if regions_too:
            torch.testing.assert_close(tuple(view), tuple(expected_view), rtol=1e-4, atol=1e-5)


def test_the_gradient_reaches_the_slice_and_nothing_else(space, make_supernet, list_members, images, truths):
    for subnet in list_members(space)[1:]:
        supernet = make_supernet(space).train()
        arch = space.arch(subnet)
        static = extract(supernet, arch).train()
        torch.manual_seed(5)
        losses, _, _ = run_slice(supernet, arch, images, truths)
        sum(losses.values()).backward()
        torch.manual_seed(5)
        sum(static.losses(images, truths).values()).backward()
        expected = dict(static.named_parameters())
        for name, parameter in supernet.named_parameters():
            if name not in expected or expected[name].grad is None:
                assert parameter.grad is None or not parameter.grad.any(), name
                continue
            outside = parameter.grad.clone()
            inside = cut(outside, expected[name])
            torch.testing.assert_close(inside, expected[name].grad, rtol=1e-3, atol=1e-5, msg=name)
            inside.zero_()
            assert not outside.any(), f"{name} outside the slice"


def test_the_statistics_of_the_slice_are_updated_and_no_others(space, make_supernet, images, truths):
    supernet = make_supernet(space).train()
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    arch = space.arch(space.smallest())
    static = extract(supernet, arch).train()
    run_slice(supernet, arch, images, truths)
    static.losses(images, truths)
    expected = static.state_dict()
    for name, after in supernet.named_buffers():
        if name not in expected:
            assert torch.equal(after, before[name]), f"{name} is of a block that was left out"
        elif after.ndim == 0:
            assert after == before[name] + 1
        else:
            width = len(expected[name])
            torch.testing.assert_close(after[:width], expected[name], msg=name)
            assert not torch.equal(after[:width], before[name][:width])
            assert torch.equal(after[width:], before[name][width:]), f"{name} outside the slice"


def test_the_super_network_is_whole_again_after_a_subnet_or_an_error(space, make_supernet, images, truths):
    supernet = make_supernet(space)
    with torch.no_grad():
        before = supernet.backbone(images)
        run_slice(supernet, space.arch(space.smallest()), images, truths)
        with pytest.raises(TypeError):
            run_slice(supernet, space.arch(space.smallest()), images, None)
        after = supernet.backbone(images)
    assert all(torch.equal(before[level], after[level]) for level in before)


def compute(detector, images):
    """Pyramid and detections; the stages' own maps are in another order after ranking."""
    with torch.no_grad():
        found = detector.detect(images)
        return list(detector.backbone(images).values()), [tuple(item) for item in found]


def test_ranking_leaves_what_the_super_network_computes(space, make_supernet, images):
    supernet = make_supernet(space).double()
    maps, found = compute(supernet, images.double())
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    rank_channels(supernet)
    moved = [name for name, tensor in supernet.state_dict().items() if not torch.equal(tensor, before[name])]
    assert moved and all(name.startswith(MOVES) for name in moved)
    after, found_after = compute(supernet, images.double())
    torch.testing.assert_close(after, maps, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found_after, found, rtol=1e-7, atol=1e-7)


def test_after_ranking_the_deciding_scales_fall(space, make_supernet):
    supernet = make_supernet(space)
    rank_channels(supernet)
    weights = supernet.state_dict()
    for stage, index, block in supernet.arch.body.blocks():
        name = f"backbone.body.layer{stage + 1}.{index}"
        norms = [f"{name}.bn{conv + 1}" for conv in range(len(block.widths) - 1)]  # of the inner convolutions
        norms += [f"{name}.downsample.1"] if index == 0 else []  # of the stage's stream
        for norm in norms:
            scales = weights[f"{norm}.weight"].abs()
            assert (scales[:-1] >= scales[1:]).all() and scales[0] > scales[-1], norm
    groups = supernet.arch.body.channel_groups()
    assert len([group for group in groups if group.names[0].startswith("stream")]) == 4


def test_ranking_a_second_time_moves_nothing(space, make_supernet):
    supernet = make_supernet(space)
    rank_channels(supernet)
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    rank_channels(supernet)
    assert all(torch.equal(before[name], tensor) for name, tensor in supernet.state_dict().items())


def test_a_narrow_member_keeps_the_most_important_channels(space, make_supernet):
    supernet = make_supernet(space)
    scales = supernet.state_dict()["backbone.body.layer2.0.bn1.weight"].abs().clone()
    rank_channels(supernet)
    kept = slice_weights(supernet.state_dict(), space.arch(space.smallest()))["backbone.body.layer2.0.bn1.weight"].abs()
    assert len(kept) == len(scales) // 2
    assert torch.equal(kept, scales.sort(descending=True).values[: len(kept)])
