import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.arch import (
    ACTIONS,
    AddLayer,
    ArchSpec,
    ChooseBlock,
    FasterRCNNHead,
    IllegalAction,
    Importance,
    PruneBoxHead,
    PruneBranches,
    PruneChannels,
    PruneDeconv,
    PruneFPN,
    PruneLayer,
    PruneRPN,
    Rearrange,
    Resize,
    SetRegionProposals,
    Space,
    action_from_json,
    arch_from_encoding,
    base_arch,
    count,
    encoding_from_arch,
    kept_channels,
    legal_actions,
    uniform_importance,
)
from optimizer.errors import InputError

R18 = base_arch("r18", (512, 512))
R50 = base_arch("r50", (512, 512))
X101 = base_arch("x101", (512, 512))
SHUFFLENET = base_arch("shufflenetv2_20", (512, 512))
CENTERNET = base_arch("r18", (512, 512), "centernet")
OTHERS = {"choose_block": SHUFFLENET, "prune_deconv": CENTERNET, "prune_branches": CENTERNET}
SINGLE = arch_from_encoding("[(64, 64)], [(128, 128)], [(256, 256)], [(512, 512)]", (512, 512))
PAIR_IN_STAGE_3 = arch_from_encoding("[(64, 64)], [(128, 128)], [(256, 256)-(256, 256)], [(512, 512)]", (512, 512))

EXAMPLES = [
    PruneChannels(0.2, 4, 16),
    PruneLayer("mean"),
    AddLayer(2),
    Rearrange(1, "first"),
    ChooseBlock(2, 1, 3),
    Resize((800, 600)),
    SetRegionProposals(300),
    PruneFPN(0.5, 16, 64),
    PruneRPN(0.1),
    PruneBoxHead(min_width=256),
    PruneDeconv(0.5, 16, 64),
    PruneBranches(0.25),
]


def apply(action, arch):
    return action.apply(arch, uniform_importance(arch))


def with_norms(arch: ArchSpec, **norms: float) -> Importance:
    """Block norms of 100 but for those named like s2b1 (stage 2, block 1)."""
    blocks = {(stage, block): norms.get(f"s{stage}b{block}", 100.0) for stage, block, _ in arch.body.blocks()}
    return Importance({}, blocks)


def test_every_kind_of_action_is_tried_here():
    assert [action.kind for action in EXAMPLES] == list(ACTIONS)


@pytest.mark.parametrize("action", EXAMPLES, ids=lambda action: action.kind)
def test_an_action_survives_json(action):
    assert action_from_json(json.loads(json.dumps(action.to_json()))) == action


@pytest.mark.parametrize("action", EXAMPLES, ids=lambda action: action.kind)
def test_an_edit_names_its_parent_and_a_source_for_every_block(action):
    base = OTHERS.get(action.kind, R18)
    edit = apply(action, base)

    assert edit.parent == base
    assert edit.child != base
    assert tuple(map(len, edit.sources)) == edit.child.body.depths


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"kind": "shrink"},
        {"kind": ["prune_layer"]},
        {"kind": "add_layer"},
        {"kind": "add_layer", "stage": 4},
        {"kind": "add_layer", "stage": -1},
        {"kind": "add_layer", "stage": 1, "depth": 2},
        {"kind": "rearrange", "stage": 1, "end": "middle"},
        {"kind": "prune_channels", "ratio": 0},
        {"kind": "prune_channels", "ratio": 1.0},
        {"kind": "prune_channels", "ratio": "much"},
        {"kind": "prune_channels", "round_to": 0},
        {"kind": "prune_layer", "norm": "max"},
        {"kind": "resize", "size": [63, 512]},
        {"kind": "resize", "size": [512]},
        {"kind": "resize", "size": 512},
        {"kind": "set_region_proposals", "count": 0},
        {"kind": "prune_fpn", "ratio": 1.0},
        {"kind": "prune_rpn", "round_to": 0},
        {"kind": "prune_box_head", "min_width": 0},
        {"kind": "prune_box_head", "width": 512},
    ],
)
def test_json_that_is_no_action_is_the_users_error(value):
    with pytest.raises(InputError):
        action_from_json(value)


# Channel pruning


@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=st.data())
def test_channel_pruning_respects_ratio_floor_and_multiples(data, base_archs, draw_importance):
    arch = data.draw(base_archs)
    ratio = data.draw(st.floats(0.01, 0.5))
    round_to, min_width = data.draw(st.sampled_from([1, 8, 16])), data.draw(st.sampled_from([1, 32, 48]))

    edit = PruneChannels(ratio, round_to, min_width).apply(arch, draw_importance(arch, data.draw(st.integers(0, 99))))

    before, after = arch.body.channel_groups(), edit.child.body.channel_groups()
    assert [group.names for group in after] == [group.names for group in before]
    for old, new in zip(before, after):
        assert min(old.width, min_width) <= new.width <= old.width
        assert new.width == old.width or new.width % (new.group_width or round_to) == 0
    removed = sum((old.width - new.width) * len(old.names) for old, new in zip(before, after))
    largest = max(round_to, *(2 * group.group_width for group in before))
    wanted = ratio * sum(group.width * len(group.names) for group in before)
    at_floor = all(new.width - max(round_to, new.group_width) < min_width for new in after)
    assert at_floor or wanted <= removed < wanted + largest
    assert count(edit.child).macs < count(arch).macs


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999), data=st.data())
def test_what_inheritance_keeps_outranks_what_channel_pruning_dropped(seed, data, base_archs, draw_importance):
    arch = data.draw(base_archs)
    importance = draw_importance(arch, seed)

    child = PruneChannels(0.2, round_to=1, min_width=1).apply(arch, importance).child

    kept, dropped = [], []
    for old, new in zip(arch.body.channel_groups(), child.body.channel_groups()):
        scores = old.score_channels(importance.channels)
        stay = kept_channels(scores, new.width, old.group_width)
        size = old.group_width or 1
        for start in range(0, old.width, size):
            mean = sum(scores[start : start + size]) / size
            (kept if start in stay else dropped).append((mean, new.width > size))
    assert dropped
    assert max(mean for mean, _ in dropped) <= min(mean for mean, above_floor in kept if above_floor) + 1e-9


def test_a_stream_loses_its_channels_in_every_block():
    importance = uniform_importance(R18)
    channels = {**importance.channels, "stream:2.0": (0.0,) * 16 + (1.0,) * 240}

    child = PruneChannels(0.01).apply(R18, Importance(channels, importance.blocks)).child

    assert [block.widths for block in child.body.stages[2].blocks] == [(256, 240), (256, 240)]
    assert [block.widths for block in child.body.stages[3].blocks] == [(512, 512), (512, 512)]


def test_a_resnext_loses_whole_groups_of_both_inner_convolutions():
    child = apply(PruneChannels(0.3), X101).child

    for _, _, block in child.body.blocks():
        assert block.widths[0] == block.widths[1]
        assert block.widths[0] % block.group_width == 0
    assert [stage.out_width for stage in child.body.stages] == [256, 512, 1024, 2048]


def test_the_floor_of_the_grouped_net_is_whole_groups_too():
    child = apply(PruneChannels(0.99, min_width=40), X101).child

    assert [stage.blocks[-1].widths[0] for stage in child.body.stages] == [40, 40, 48, 64]


def test_the_paper_s_r50_step_removes_a_tenth_of_the_channels(draw_importance):
    child = PruneChannels(0.1, round_to=1).apply(R50, draw_importance(R50, 0)).child

    assert sum(group.width for group in child.body.channel_groups()) == 11392 - 1140


def test_a_net_at_its_floor_cannot_be_pruned():
    floor = apply(PruneChannels(0.99), R18).child

    assert {width for _, _, block in floor.body.blocks() for width in block.widths} == {32, 64}
    with pytest.raises(IllegalAction, match="floor of 32"):
        apply(PruneChannels(0.1), floor)


# Layer pruning


def test_the_block_with_the_least_norm_goes():
    edit = PruneLayer().apply(R50, with_norms(R50, s2b3=1.0))

    assert edit.child.body.depths == (3, 4, 5, 3)
    assert edit.sources[2] == ((2, 0), (2, 1), (2, 2), (2, 4), (2, 5))


def test_the_first_block_of_a_stage_stays_however_small_it_is():
    norms = with_norms(R18, s0b0=0.0, s1b0=0.0, s2b0=0.0, s3b0=0.0, s1b1=1.0)

    assert PruneLayer().apply(R18, norms).child.body.depths == (2, 1, 2, 2)


def test_a_block_with_a_projection_inside_a_stage_stays():
    moved = apply(Rearrange(2, "last"), PAIR_IN_STAGE_3).child

    assert moved.body.stages[3].blocks[1].projection
    with pytest.raises(IllegalAction, match="no block left"):
        apply(PruneLayer(), moved)


def test_the_mean_norm_does_not_favour_narrow_blocks():
    norms = with_norms(R50, s0b1=50_000.0, s2b3=60_000.0)
    others = {place: 1e9 for place, norm in norms.blocks.items() if norm == 100.0}
    importance = Importance({}, {**norms.blocks, **others})

    assert PruneLayer("sum").apply(R50, importance).child.body.depths == (2, 4, 6, 3)
    assert PruneLayer("mean").apply(R50, importance).child.body.depths == (3, 4, 5, 3)


def test_of_equal_blocks_the_first_goes():
    assert apply(PruneLayer(), R50).sources[0] == ((0, 0), (0, 2))


def test_single_blocks_cannot_be_removed():
    with pytest.raises(IllegalAction, match="no block left"):
        apply(PruneLayer(), SINGLE)


# Added layers


@pytest.mark.parametrize("stage", range(4))
@pytest.mark.parametrize("arch", [R18, R50, X101, SINGLE], ids=["r18", "r50", "x101", "single"])
def test_an_added_layer_copies_the_shape_of_the_last_with_an_identity_shortcut(arch, stage):
    edit = apply(AddLayer(stage), arch)
    *old, new = edit.child.body.stages[stage].blocks

    assert tuple(old) == arch.body.stages[stage].blocks
    assert (new.widths, new.group_width) == (old[-1].widths, old[-1].group_width)
    assert (new.stride, new.projection) == (1, False)
    assert edit.sources[stage][-1] is None


def test_what_was_added_can_be_removed():
    added = apply(AddLayer(3), SINGLE).child

    assert apply(PruneLayer(), added).child == SINGLE


# Rearrangement


def test_the_last_block_heads_the_next_stage():
    edit = apply(Rearrange(2, "last"), R50)
    moved, former, *_ = edit.child.body.stages[3].blocks

    assert edit.child.body.depths == (3, 4, 5, 4)
    assert edit.sources[3] == ((2, 5), (3, 0), (3, 1), (3, 2))
    assert (moved.widths, moved.stride, moved.projection) == ((256, 256, 1024), 2, True)
    assert (former.widths, former.stride, former.projection) == ((512, 512, 2048), 1, True)


def test_the_first_block_ends_the_stage_before():
    edit = apply(Rearrange(2, "first"), R50)
    moved, head = edit.child.body.stages[1].blocks[-1], edit.child.body.stages[2].blocks[0]

    assert edit.child.body.depths == (3, 5, 5, 3)
    assert edit.sources[1][-1] == (2, 0)
    assert (moved.widths, moved.stride, moved.projection) == ((256, 256, 1024), 1, True)
    assert (head.widths, head.stride, head.projection) == ((256, 256, 1024), 2, True)


def test_a_block_moved_twice_leaves_the_stride_with_the_new_head():
    twice = apply(Rearrange(2, "last"), apply(Rearrange(2, "last"), R50).child).child

    assert [(block.stride, block.projection) for block in twice.body.stages[3].blocks[:4]] == [
        (2, True),
        (1, True),
        (1, True),
        (1, False),
    ]


def test_moving_there_and_back_returns_every_block():
    there = apply(Rearrange(1, "last"), R18)
    back = apply(Rearrange(2, "first"), there.child)

    assert back.child.body.depths == R18.body.depths
    assert encoding_from_arch(back.child) == encoding_from_arch(R18)


@pytest.mark.parametrize(("stage", "end"), [(0, "first"), (3, "last")])
def test_the_outer_stages_have_no_neighbour_outside(stage, end):
    with pytest.raises(IllegalAction, match="no neighbour"):
        apply(Rearrange(stage, end), R18)


@pytest.mark.parametrize(("stage", "end"), [(0, "last"), (1, "first"), (1, "last"), (3, "first")])
def test_a_stage_is_never_emptied(stage, end):
    with pytest.raises(IllegalAction, match="single block"):
        apply(Rearrange(stage, end), SINGLE)


def test_moved_blocks_keep_their_group_width():
    child = apply(Rearrange(2, "last"), X101).child

    assert [block.group_width for block in child.body.stages[3].blocks] == [16, 32, 32, 32]


# Canvas and region proposals


def test_a_resize_changes_the_canvas_alone():
    edit = apply(Resize((640, 480)), R18)

    assert edit.child == R18.with_size(640, 480)
    assert edit.sources[0] == ((0, 0), (0, 1))


def test_a_resize_to_the_same_canvas_is_illegal():
    with pytest.raises(IllegalAction, match="512x512 already"):
        apply(Resize((512, 512)), R18)


def test_region_proposals_change_the_head_alone():
    child = apply(SetRegionProposals(100), R18).child

    assert child.head == FasterRCNNHead(region_proposals=100, anchor_scale=4)
    assert child.body.stages == R18.body.stages


def test_region_proposals_need_another_number_and_a_head_that_has_them():
    with pytest.raises(IllegalAction, match="already"):
        apply(SetRegionProposals(1000), R18)
    with pytest.raises(IllegalAction, match="retinanet has no region proposals"):
        apply(SetRegionProposals(100), base_arch("r18", (512, 512), "retinanet"))


# All of them


@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_walk_of_legal_actions_stays_among_valid_archs(data, base_archs, draw_importance):
    arch = data.draw(base_archs)
    space = Space(region_proposals=(300, 1000))
    for step in range(6):
        action = data.draw(st.sampled_from(legal_actions(arch, space)))

        edit = action.apply(arch, draw_importance(arch, step))

        sources = [source for stage in edit.sources for source in stage if source is not None]
        assert sources == sorted(set(sources))  # blocks keep their order, none is used twice
        assert ArchSpec.from_json(json.loads(edit.child.to_text())) == edit.child
        arch = edit.child
