from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.arch import (
    ACTIONS,
    AddLayer,
    FasterRCNNHead,
    FpnSpec,
    PruneBoxHead,
    PruneChannels,
    PruneFPN,
    PruneLayer,
    PruneRPN,
    Rearrange,
    Resize,
    SetRegionProposals,
    Space,
    arch_from_encoding,
    base_arch,
    contains,
    legal_actions,
)
from optimizer.errors import InputError

R18 = base_arch("r18", (512, 512))


def test_all_actions_of_a_base_are_listed_in_a_fixed_order():
    space = Space(sizes=((512, 512), (320, 240)), region_proposals=(300, 1000))

    assert legal_actions(R18, space) == [
        PruneChannels(),
        PruneLayer(),
        *(AddLayer(stage) for stage in range(4)),
        Rearrange(0, "last"),
        Rearrange(1, "first"),
        Rearrange(1, "last"),
        Rearrange(2, "first"),
        Rearrange(2, "last"),
        Rearrange(3, "first"),
        Resize((320, 240)),
        SetRegionProposals(300),
        PruneFPN(),
        PruneRPN(),
        PruneBoxHead(),
    ]


@pytest.mark.parametrize("kind", ACTIONS)
def test_only_the_allowed_kinds_are_listed(kind):
    space = Space(sizes=((512, 512), (320, 240)), region_proposals=(300, 1000), actions=(kind,))

    bases = [R18, *(base_arch(*of) for of in (("r18", (512, 512), "centernet"), ("shufflenetv2_20", (512, 512))))]
    listed = [{action.kind for action in legal_actions(base, space)} for base in bases]
    assert {kind} in listed and all(found <= {kind} for found in listed)


def test_no_kind_allowed_leaves_nothing():
    assert legal_actions(R18, Space(actions=())) == []


def test_a_stage_does_not_grow_past_its_greatest_depth():
    legal = legal_actions(R18, Space(actions=("add_layer", "rearrange"), max_depths=(2, 3, 2, 2)))

    assert legal == [AddLayer(1), Rearrange(0, "last"), Rearrange(2, "first")]


def test_a_stage_that_is_too_deep_already_may_still_shrink():
    space = Space(max_depths=(1, 1, 1, 1), actions=("prune_layer", "add_layer"))

    assert legal_actions(R18, space) == [PruneLayer()]


def test_a_net_with_nothing_left_to_do_has_no_legal_action():
    backbone = arch_from_encoding("[(32, 32)], [(32, 32)], [(32, 32)], [(32, 32)]", (512, 512))
    single = replace(backbone, neck=FpnSpec(32), head=FasterRCNNHead(rpn_width=32, box_width=128))

    assert legal_actions(single, Space(sizes=((512, 512),), max_depths=(1, 1, 1, 1))) == []


def test_the_space_sets_how_channels_and_layers_are_pruned():
    space = Space(
        min_width=16, round_to=4, prune_ratio=0.25, layer_norm="mean", actions=("prune_channels", "prune_layer")
    )

    assert legal_actions(R18, space) == [PruneChannels(0.25, 4, 16), PruneLayer("mean")]


def test_the_space_sets_how_neck_and_heads_are_pruned():
    kinds = ("prune_fpn", "prune_rpn", "prune_box_head")
    space = Space(width_ratio=0.5, round_to=4, min_neck_width=64, min_box_width=512, actions=kinds)

    assert legal_actions(R18, space) == [PruneFPN(0.5, 4, 64), PruneRPN(0.5, 4, 64), PruneBoxHead(0.5, 4, 512)]


def test_a_retinanet_has_a_neck_to_prune_but_neither_rpn_nor_box_head():
    arch = base_arch("r18", (512, 512), "retinanet")

    assert legal_actions(arch, Space(actions=("prune_fpn", "prune_rpn", "prune_box_head"))) == [PruneFPN()]
    assert contains(arch, Space(min_box_width=2048))
    assert not contains(arch, Space(min_neck_width=264))


def test_a_choice_given_twice_is_offered_once():
    space = Space(
        sizes=((320, 240), (320, 240)), region_proposals=(300, 300), actions=("resize", "set_region_proposals")
    )

    assert legal_actions(R18, space) == [Resize((320, 240)), SetRegionProposals(300)]


def test_a_retinanet_is_offered_no_region_proposals():
    arch = base_arch("r18", (512, 512), "retinanet")

    assert legal_actions(arch, Space(region_proposals=(100, 300), actions=("set_region_proposals",))) == []
    assert contains(arch, Space(region_proposals=(100, 300)))


@pytest.mark.parametrize("name", ["r18", "r50", "r101", "x101"])
def test_the_default_space_holds_the_papers_bases(name):
    assert contains(base_arch(name, (1333, 800)), Space())


@pytest.mark.parametrize(
    "space",
    [
        Space(sizes=((800, 600),)),
        Space(region_proposals=(300,)),
        Space(max_depths=(2, 2, 1, 2)),
        Space(min_width=65),
        Space(min_neck_width=264),
        Space(min_box_width=1032),
    ],
)
def test_an_arch_outside_any_bound_is_not_in_the_space(space):
    assert not contains(R18, space)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(data=st.data())
def test_legal_actions_never_leave_the_space(data, base_archs, draw_importance):
    space = Space(region_proposals=(300, 1000))
    arch = data.draw(base_archs)
    for step in range(5):
        action = data.draw(st.sampled_from(legal_actions(arch, space)))
        arch = action.apply(arch, draw_importance(arch, step)).child
        assert contains(arch, space), action


@pytest.mark.parametrize(
    "settings_",
    [
        {"actions": ("shrink",)},
        {"sizes": ()},
        {"sizes": ((512, 512), (512, 32))},
        {"region_proposals": (300, 0)},
        {"prune_ratio": 1.5},
        {"round_to": 0},
        {"layer_norm": "max"},
        {"width_ratio": 0},
        {"min_neck_width": 0},
        {"min_box_width": 0},
        {"region_proposals": ()},
        {"max_depths": (1, 1, 1)},
        {"max_depths": (0, 1, 1, 1)},
    ],
)
def test_an_impossible_space_is_the_users_error(settings_):
    with pytest.raises(InputError):
        replace(Space(), **settings_)


def test_every_width_outside_the_backbone_has_its_floor():
    space = Space(min_neck_width=128, min_box_width=512)
    heads = (FasterRCNNHead(rpn_width=128, box_width=512), FasterRCNNHead(128, 504), FasterRCNNHead(120, 512))

    assert [contains(replace(R18, neck=FpnSpec(128), head=head), space) for head in heads] == [True, False, False]
    assert not contains(replace(R18, neck=FpnSpec(120)), space)
