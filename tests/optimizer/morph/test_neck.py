"""Neck and heads narrower than the parent's. The names of layers are torchvision's, written out once more."""

from dataclasses import replace

import pytest
import torch

from optimizer.arch import (
    Edit,
    FasterRCNNHead,
    FpnSpec,
    IllegalAction,
    PruneBoxHead,
    PruneChannels,
    PruneFPN,
    PruneRPN,
    RetinaNetHead,
    count,
    uniform_importance,
)
from optimizer.detectors.geometry import list_canvases
from optimizer.morph import inherit, morph

FPN, RPN, BOX = "backbone.fpn", "rpn.head", "roi_heads.box_head"
TOWERS = ("head.classification_head", "head.regression_head")
ACTIONS = {"fpn": PruneFPN(0.25, 4, 4), "rpn": PruneRPN(0.25, 4, 4), "box": PruneBoxHead(0.25, 4, 4)}
CASES = [(kind, part) for kind in ("basic", "resnext") for part in ACTIONS]
CASES += [(f"retinanet{depth}", "fpn") for depth in (0, 1, 3)]


@pytest.fixture(params=CASES, ids="-".join)
def case(request, archs):
    """(arch, part): every action on the detectors that admit it."""
    kind, part = request.param
    if kind.startswith("retinanet"):
        return replace(archs["retinanet"], head=RetinaNetHead(tower_depth=int(kind[-1]))), part
    return archs[kind], part


def draw(draw_weights, arch, seed=0):
    """Weights whose biases outside the backbone are not all zero, large enough for a RetinaNet to find something."""
    weights = draw_weights(arch, seed)
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in weights.items():
        if not name.startswith("backbone.body"):
            tensor.normal_(0, 0.5 if name.endswith("bias") else 0.1, generator=generator)
    return weights


def list_writers(arch, part):
    """For each set of channels that `part` narrows the layers that write it."""
    if part == "rpn":
        return [[f"{RPN}.conv.0.0"]]
    if part == "box":
        return [[f"{BOX}.fc6"], [f"{BOX}.fc7"]]
    two_stages = isinstance(arch.head, FasterRCNNHead)
    levels = range(4 if two_stages else 3)
    inner = [f"{FPN}.inner_blocks.{level}.0" for level in levels]
    outer = [f"{FPN}.layer_blocks.{level}.0" for level in levels]
    if two_stages:
        return [inner, outer]
    layers = [[f"{tower}.conv.{layer}.0"] for tower in TOWERS for layer in range(arch.head.tower_depth)]
    return [inner, [*outer, f"{FPN}.extra_blocks.p6", f"{FPN}.extra_blocks.p7"], *layers]


def edit_by(action, arch):
    return action.apply(arch, uniform_importance(arch))


def compute(detector, images):
    """Pyramid, what the heads make of it, and the detections."""
    with torch.no_grad():
        maps = detector.backbone(images)
        if not isinstance(detector.arch.head, FasterRCNNHead):
            heads = [*detector.head(list(maps.values())).values()]
        else:
            objectness, deltas = detector.rpn.head(list(maps.values()))
            canvases = list_canvases(images)
            rois = [torch.tensor([[4.0, 8, 60, 50], [30, 2, 90, 62]], dtype=images.dtype)] * len(images)
            features = detector.roi_heads.box_roi_pool(maps, rois, canvases.image_sizes)
            boxes = detector.roi_heads.box_predictor(detector.roi_heads.box_head(features))
            heads = [*objectness, *deltas, *boxes]
        return list(maps.values()), heads, detector.detect(images)


def test_dropping_silent_channels_preserves_the_function(case, draw_weights, load, images):
    arch, part = case
    weights = draw(draw_weights, arch)
    generator = torch.Generator().manual_seed(3)
    stay = []
    for writers in list_writers(arch, part):
        width = len(weights[f"{writers[0]}.bias"])
        order = torch.randperm(width, generator=generator)
        dropped, kept = order[: width // 4], order[width // 4 :].sort().values
        for writer in writers:
            weights[f"{writer}.weight"][dropped] = 0
            weights[f"{writer}.bias"][dropped] = 0
        stay.append(kept)
    edit = edit_by(ACTIONS[part], arch)
    narrow = load(inherit(weights, edit), edit.child).double()
    maps, heads, found = compute(load(weights, arch).double(), images.double())
    narrow_maps, narrow_heads, narrow_found = compute(narrow, images.double())
    levels = [level[:, stay[1]] for level in maps] if part == "fpn" else maps
    torch.testing.assert_close(narrow_maps, levels, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(narrow_heads, heads, rtol=1e-9, atol=1e-9)
    for one, other in zip(narrow_found, found, strict=True):
        assert len(other.labels) > 0
        assert torch.equal(one.labels, other.labels)
        torch.testing.assert_close(one.boxes_xyxy, other.boxes_xyxy, rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(one.scores, other.scores, rtol=1e-7, atol=1e-7)


def test_the_filters_of_greatest_norm_stay_in_their_order(case, draw_weights):
    arch, part = case
    weights = draw(draw_weights, arch)
    edit = edit_by(ACTIONS[part], arch)
    child = inherit(weights, edit)
    for writers in list_writers(arch, part):
        norms = [weights[f"{writer}.weight"].abs().flatten(1).sum(1) for writer in writers]
        scores = sum(norm / norm.mean() for norm in norms)
        kept = scores.argsort(descending=True)[: len(scores) * 3 // 4].sort().values
        for writer in writers:
            assert torch.equal(child[f"{writer}.bias"], weights[f"{writer}.bias"][kept])


def test_a_level_with_large_weights_does_not_outvote_the_others(archs, draw_weights):
    arch = archs["basic"]
    weights = draw(draw_weights, arch)
    for level in range(4):
        lateral = weights[f"{FPN}.inner_blocks.{level}.0.weight"]
        rising, falling = torch.arange(100.0, 116), torch.arange(16.0, 0, -1)
        lateral.copy_((1000 * rising if level == 0 else falling)[:, None, None, None].expand_as(lateral))
    child = inherit(weights, edit_by(ACTIONS["fpn"], arch))
    for level in range(4):
        name = f"{FPN}.inner_blocks.{level}.0.weight"
        assert torch.equal(child[name], weights[name][:12])


def test_a_silent_lateral_leaves_the_choice_to_the_others(archs, draw_weights):
    arch = archs["basic"]
    weights = draw(draw_weights, arch)
    for level in range(4):
        lateral = weights[f"{FPN}.inner_blocks.{level}.0.weight"]
        lateral.copy_((torch.arange(16.0) * (level > 0))[:, None, None, None].expand_as(lateral))
    child = inherit(weights, edit_by(ACTIONS["fpn"], arch))
    assert torch.equal(child[f"{FPN}.inner_blocks.0.0.bias"], weights[f"{FPN}.inner_blocks.0.0.bias"][4:])


def test_every_reader_of_the_pyramid_loses_the_same_inputs(archs, draw_weights):
    arch = archs["basic"]
    weights = draw(draw_weights, arch)
    for kind, channels in (("inner", range(4)), ("layer", range(4, 8))):
        for level in range(4):
            weights[f"{FPN}.{kind}_blocks.{level}.0.weight"][list(channels)] = 0
    child = inherit(weights, edit_by(ACTIONS["fpn"], arch))
    inner, outer = [*range(4, 16)], [*range(4), *range(8, 16)]
    for level in range(4):
        name = f"{FPN}.layer_blocks.{level}.0.weight"
        assert torch.equal(child[name], weights[name][outer][:, inner])
    assert torch.equal(child[f"{RPN}.conv.0.0.weight"], weights[f"{RPN}.conv.0.0.weight"][:, outer])
    cells = weights[f"{BOX}.fc6.weight"].reshape(32, 16, 49)  # the RoI's channels, 7x7 cells of each
    assert torch.equal(child[f"{BOX}.fc6.weight"], cells[:, outer].flatten(1))
    assert torch.equal(child[f"{BOX}.fc6.bias"], weights[f"{BOX}.fc6.bias"])


@pytest.mark.parametrize("part", ["rpn", "box"])
def test_pruning_one_head_leaves_all_else_bit_equal(archs, draw_weights, part):
    arch = archs["basic"]
    weights = draw(draw_weights, arch)
    child = inherit(weights, edit_by(ACTIONS[part], arch))
    others = [name for name in weights if not name.startswith(RPN if part == "rpn" else "roi_heads")]
    assert child.keys() == weights.keys()
    assert all(torch.equal(child[name], weights[name]) for name in others)


def test_a_child_shares_no_memory_with_its_parent_which_stays_as_it_was(case, draw_weights):
    arch, part = case
    weights = draw(draw_weights, arch)
    before = {name: tensor.clone() for name, tensor in weights.items()}
    child = inherit(weights, edit_by(ACTIONS[part], arch))
    pointers = [tensor.data_ptr() for tensor in (*weights.values(), *child.values())]
    assert len(set(pointers)) == len(pointers)
    assert all(torch.equal(weights[name], tensor) for name, tensor in before.items())


def test_backbone_neck_and_heads_may_shrink_in_one_edit(archs, draw_weights, load):
    for kind, head in (("bottleneck", FasterRCNNHead(8, 24, 20)), ("retinanet", RetinaNetHead(1))):
        arch = archs[kind]
        weights = draw(draw_weights, arch)
        pruned = edit_by(PruneChannels(0.2, 4, 4), arch)
        both = Edit(arch, replace(pruned.child, neck=FpnSpec(12), head=head), pruned.sources)
        child = inherit(weights, both)
        load(child, both.child)
        sources = tuple(tuple((stage, block) for block in range(depth)) for stage, depth in enumerate(arch.body.depths))
        in_turn = inherit(inherit(weights, pruned), Edit(pruned.child, both.child, sources))
        assert all(torch.equal(child[name], tensor) for name, tensor in in_turn.items())


def test_morphing_makes_the_detector_cheaper_and_it_loads(case, draw_weights, load, images):
    arch, part = case
    morphed = morph(draw(draw_weights, arch), arch, [ACTIONS[part]])
    before, after = count(arch), count(morphed.arch)
    assert after.params < before.params
    assert after.macs < before.macs
    assert len(load(morphed.weights, morphed.arch).detect(images)) == len(images)


def test_a_narrowed_detector_still_trains(case, draw_weights, load, images):
    arch, part = case
    student = morph(draw(draw_weights, arch), arch, [ACTIONS[part]])
    detector = load(student.weights, student.arch).train()
    sum(level.square().mean() for level in detector.backbone(images).values()).backward()
    gradient = detector.backbone.fpn.inner_blocks[0][0].weight.grad
    assert gradient.shape[0] == student.arch.neck.width
    assert gradient.abs().max() > 0


def test_pruning_down_to_the_floor_ends_in_an_illegal_action(archs, draw_weights, load):
    arch = archs["basic"]
    student = morph(draw(draw_weights, arch), arch, [])
    for action in ACTIONS.values():
        with pytest.raises(IllegalAction, match="floor of 4"):
            for _ in range(9):
                student = morph(student.weights, student.arch, [action])
        load(student.weights, student.arch)
    assert (student.arch.neck.width, student.arch.head.rpn_width, student.arch.head.box_width) == (4, 4, 4)


@pytest.mark.parametrize("part", ["rpn", "box"])
def test_a_retinanet_has_no_such_head_to_prune(archs, draw_weights, part):
    with pytest.raises(IllegalAction, match="retinanet has no"):
        morph(draw_weights(archs["retinanet"], 0), archs["retinanet"], [ACTIONS[part]])
