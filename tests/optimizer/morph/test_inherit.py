"""What a child takes over from its parent, tensor by tensor."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from optimizer.arch import (
    ArchSpec,
    Edit,
    FasterRCNNHead,
    FpnSpec,
    PruneLayer,
    Rearrange,
    Resize,
    RetinaNetHead,
    SetRegionProposals,
    uniform_importance,
)
from optimizer.morph import inherit


def edit_by(action, arch: ArchSpec) -> Edit:
    return action.apply(arch, uniform_importance(arch))


def assert_block_copied(child: dict[str, Tensor], block: str, parent: dict[str, Tensor], source: str) -> None:
    """Whatever the source block has the child's block has too, bit for bit."""
    names = [name.removeprefix(source) for name in parent if name.startswith(source)]
    assert names
    assert all(torch.equal(child[block + name], parent[source + name]) for name in names)


def test_an_edit_that_changes_no_shape_leaves_weights_and_outputs_bit_equal(arch, draw_weights, load, images):
    weights = draw_weights(arch, 0)
    edit = edit_by(Resize((64, 64)), arch)
    child = inherit(weights, edit)
    assert child.keys() == weights.keys()
    assert all(torch.equal(child[name], tensor) for name, tensor in weights.items())
    with torch.no_grad():
        before, after = load(weights, arch).backbone(images), load(child, arch).backbone(images)
    assert all(torch.equal(before[level], after[level]) for level in before)


def test_another_number_of_region_proposals_leaves_the_weights_alone(archs, draw_weights):
    weights = draw_weights(archs["basic"], 0)
    child = inherit(weights, edit_by(SetRegionProposals(7), archs["basic"]))
    assert all(torch.equal(child[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("action", [Resize((64, 64)), PruneLayer(), Rearrange(3, "first")])
def test_a_child_shares_no_memory_with_its_parent_and_none_within_itself(arch, draw_weights, action):
    weights = draw_weights(arch, 0)
    child = inherit(weights, edit_by(action, arch))
    pointers = [tensor.data_ptr() for tensor in (*weights.values(), *child.values())]
    assert len(set(pointers)) == len(pointers)


def test_layer_pruning_copies_all_other_blocks_bit_for_bit(arch, draw_weights, load):
    weights = draw_weights(arch, 0)
    edit = edit_by(PruneLayer(), arch)
    child = inherit(weights, edit)
    load(child, edit.child)
    assert sum(edit.child.body.depths) == sum(arch.body.depths) - 1
    for stage, sources in enumerate(edit.sources):
        for index, (row, column) in enumerate(sources):
            block, source = (f"backbone.body.layer{s + 1}.{b}." for s, b in ((stage, index), (row, column)))
            assert_block_copied(child, block, weights, source)
    rest = [name for name in weights if not name.startswith("backbone.body.layer")]
    assert all(torch.equal(child[name], weights[name]) for name in rest)


def test_a_last_block_moves_to_the_head_of_the_next_stage_with_an_identity_for_projection(archs, draw_weights, load):
    for kind, width in (("basic", 32), ("bottleneck", 64), ("resnext", 64)):
        arch = archs[kind]
        weights = draw_weights(arch, 0)
        edit = edit_by(Rearrange(2, "last"), arch)
        child = inherit(weights, edit)
        load(child, edit.child)
        assert_block_copied(
            child, "backbone.body.layer4.0.", weights, f"backbone.body.layer3.{arch.body.depths[2] - 1}."
        )
        assert_block_copied(child, "backbone.body.layer4.1.", weights, "backbone.body.layer4.0.")
        projection = "backbone.body.layer4.0.downsample"
        assert torch.equal(child[f"{projection}.0.weight"], torch.eye(width)[:, :, None, None])
        assert torch.equal(child[f"{projection}.1.weight"], torch.ones(width))
        assert torch.equal(child[f"{projection}.1.bias"], torch.zeros(width))
        assert torch.equal(child[f"{projection}.1.running_mean"], torch.zeros(width))
        assert torch.equal(child[f"{projection}.1.running_var"], torch.ones(width))


def test_the_lateral_of_a_stage_that_took_a_block_follows_the_stream_it_now_puts_out(archs, draw_weights, load):
    arch = archs["bottleneck"]
    weights = draw_weights(arch, 0)
    edit = edit_by(Rearrange(3, "first"), arch)
    child = inherit(weights, edit)
    load(child, edit.child)
    assert_block_copied(child, "backbone.body.layer3.3.", weights, "backbone.body.layer4.0.")
    assert_block_copied(child, "backbone.body.layer4.0.", weights, "backbone.body.layer4.1.")
    for level, reader in ((0, 0), (1, 1), (2, 3), (3, 3)):
        lateral, source = (f"backbone.fpn.inner_blocks.{number}.0." for number in (level, reader))
        assert_block_copied(child, lateral, weights, source)


def test_the_laterals_of_a_retinanet_are_counted_from_its_second_stage(archs, draw_weights, load):
    arch = archs["retinanet"]
    weights = draw_weights(arch, 0)
    edit = edit_by(Rearrange(3, "first"), arch)
    child = inherit(weights, edit)
    load(child, edit.child)
    for level, reader in ((0, 0), (1, 2), (2, 2)):
        lateral, source = (f"backbone.fpn.inner_blocks.{number}.0." for number in (level, reader))
        assert_block_copied(child, lateral, weights, source)


def test_a_stream_that_no_lateral_has_read_keeps_the_stages_own_if_it_is_as_wide(archs, draw_weights, load):
    arch = archs["bottleneck"]
    moved = edit_by(Rearrange(2, "last"), arch)
    weights = inherit(draw_weights(arch, 0), moved)
    back = edit_by(Rearrange(3, "first"), moved.child)
    child = inherit(weights, back)
    load(child, back.child)
    assert_block_copied(child, "backbone.fpn.inner_blocks.2.0.", weights, "backbone.fpn.inner_blocks.2.0.")


def test_a_stream_that_no_lateral_has_read_starts_silent_if_it_is_of_another_width(archs, draw_weights, load):
    arch = archs["bottleneck"]
    moved = edit_by(Rearrange(3, "first"), arch)
    weights = inherit(draw_weights(arch, 0), moved)
    back = edit_by(Rearrange(2, "last"), moved.child)
    child = inherit(weights, back)
    load(child, back.child)
    lateral = "backbone.fpn.inner_blocks.2.0"
    assert torch.equal(child[f"{lateral}.weight"], torch.zeros(16, 64, 1, 1))
    assert torch.equal(child[f"{lateral}.bias"], weights[f"{lateral}.bias"])


def test_the_channels_with_the_greatest_scales_stay_in_every_tensor_that_has_them(archs, draw_weights, edit_widths):
    arch = archs["basic"]
    weights = draw_weights(arch, 0)
    weights["backbone.body.layer4.0.bn1.weight"] = torch.linspace(-1, 1, 48)  # the ends are the greatest
    child = inherit(weights, edit_widths(arch, {(3, 0, 0): 8}))
    stay = [0, 1, 2, 3, 44, 45, 46, 47]
    block = "backbone.body.layer4.0"
    assert torch.equal(child[f"{block}.conv1.weight"], weights[f"{block}.conv1.weight"][stay])
    assert torch.equal(child[f"{block}.conv2.weight"], weights[f"{block}.conv2.weight"][:, stay])
    for vector in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(child[f"{block}.bn1.{vector}"], weights[f"{block}.bn1.{vector}"][stay])
    assert child[f"{block}.bn1.num_batches_tracked"] == weights[f"{block}.bn1.num_batches_tracked"]


def test_a_narrowed_stream_is_narrowed_wherever_it_is_written_and_read(archs, draw_weights, edit_widths, load):
    arch = archs["bottleneck"]
    weights = draw_weights(arch, 0)
    weights["backbone.body.layer3.0.downsample.1.weight"] = torch.arange(64.0)
    edit = edit_widths(arch, {(2, block, 2): 24 for block in range(3)})
    child = inherit(weights, edit)
    load(child, edit.child)
    stay, layer3, layer4 = slice(40, 64), "backbone.body.layer3", "backbone.body.layer4"
    for writer in (f"{layer3}.0.downsample.0", f"{layer3}.0.conv3", f"{layer3}.1.conv3", f"{layer3}.2.conv3"):
        assert torch.equal(child[f"{writer}.weight"], weights[f"{writer}.weight"][stay])
    readers = (f"{layer3}.1.conv1", f"{layer3}.2.conv1", f"{layer4}.0.conv1", f"{layer4}.0.downsample.0")
    for reader in (*readers, "backbone.fpn.inner_blocks.2.0"):
        assert torch.equal(child[f"{reader}.weight"], weights[f"{reader}.weight"][:, stay])


def test_a_grouped_convolution_may_come_down_to_a_single_group(archs, draw_weights, edit_widths, load):
    arch = archs["resnext"]
    weights = draw_weights(arch, 0)
    for norm in ("bn1", "bn2"):
        weights[f"backbone.body.layer1.1.{norm}.weight"] = torch.linspace(1, 2, 16)
    edit = edit_widths(arch, {(0, 1, 0): 4, (0, 1, 1): 4})
    child = inherit(weights, edit)
    load(child, edit.child)
    block = "backbone.body.layer1.1"
    assert torch.equal(child[f"{block}.conv1.weight"], weights[f"{block}.conv1.weight"][12:])
    assert torch.equal(child[f"{block}.conv2.weight"], weights[f"{block}.conv2.weight"][12:])
    assert torch.equal(child[f"{block}.conv3.weight"], weights[f"{block}.conv3.weight"][:, 12:])


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("basic", {"neck": FpnSpec(24)}),
        ("basic", {"head": FasterRCNNHead(rpn_width=24, box_width=32)}),
        ("basic", {"head": FasterRCNNHead(rpn_width=16, box_width=48)}),
        ("retinanet", {"head": RetinaNetHead(tower_depth=2)}),
        ("retinanet", {"head": FasterRCNNHead(rpn_width=16, box_width=32)}),
    ],
)
def test_a_wider_neck_or_head_and_another_tower_are_refused(archs, draw_weights, edit_widths, kind, change):
    arch = archs[kind]
    edit = replace(edit_widths(arch, {}), child=replace(arch, **change))
    with pytest.raises(AssertionError, match="neck and heads no wider"):
        inherit(draw_weights(arch, 0), edit)


def test_a_width_that_nothing_decides_over_is_refused(archs, draw_weights, edit_widths):
    arch = archs["resnext"]
    edit = edit_widths(arch, {(3, block, 2): 64 for block in range(2)})  # the stream of a ResNeXt is left whole
    with pytest.raises(AssertionError, match="comes to"):
        inherit(draw_weights(arch, 0), edit)
