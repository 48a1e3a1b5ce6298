from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.arch import (
    CenterNetHead,
    DeconvSpec,
    FasterRCNNHead,
    FpnSpec,
    IllegalAction,
    Importance,
    PruneBoxHead,
    PruneBranches,
    PruneDeconv,
    PruneFPN,
    PruneRPN,
    base_arch,
    count_parts,
)
from optimizer.errors import InputError

R18 = base_arch("r18", (512, 512))
RETINANET = base_arch("r18", (512, 512), "retinanet")
CENTERNET = base_arch("r18", (512, 512), "centernet")
NOTHING = Importance({}, {})  # these actions ask for none


def with_widths(fpn=256, rpn=256, box=1024):
    return replace(R18, neck=FpnSpec(fpn), head=FasterRCNNHead(rpn, box))


def widths(arch):
    return arch.neck.width, arch.head.rpn_width, arch.head.box_width


@pytest.mark.parametrize(
    ("action", "after"),
    [
        (PruneFPN(), (192, 256, 1024)),
        (PruneRPN(), (256, 192, 1024)),
        (PruneBoxHead(), (256, 256, 768)),
        (PruneFPN(0.1), (224, 256, 1024)),  # 230.4 down to a multiple of 8
        (PruneRPN(0.1, round_to=1), (256, 230, 1024)),
        (PruneBoxHead(0.99), (256, 256, 128)),
        (PruneFPN(0.9, round_to=64, min_width=33), (64, 256, 1024)),  # the floor is rounded up
    ],
)
def test_an_action_narrows_its_own_width_and_nothing_else(action, after):
    child = action.apply(R18, NOTHING).child

    assert widths(child) == after
    assert replace(child, neck=FpnSpec(256), head=R18.head) == R18


def test_every_block_is_its_own_source():
    assert PruneFPN().apply(R18, NOTHING).sources == tuple(((stage, 0), (stage, 1)) for stage in range(4))


@pytest.mark.parametrize("action_type", [PruneFPN, PruneRPN, PruneBoxHead])
@given(
    width=st.integers(1, 1100),
    ratio=st.floats(0.01, 0.99),
    round_to=st.sampled_from([1, 8, 24]),
    min_width=st.sampled_from([1, 32, 100]),
)
def test_the_new_width_is_the_greatest_multiple_that_keeps_ratio_and_floor(
    action_type, width, ratio, round_to, min_width
):
    arch = with_widths(width, width, width)
    index = [PruneFPN, PruneRPN, PruneBoxHead].index(action_type)
    multiples = [new for new in range(round_to, width, round_to) if new >= min_width]
    few_enough = [new for new in multiples if new <= width * (1 - ratio) + 1e-6]
    if multiples:
        wanted = max(few_enough, default=multiples[0])
        assert widths(action_type(ratio, round_to, min_width).apply(arch, NOTHING).child)[index] == wanted
    else:
        with pytest.raises(IllegalAction, match=f"below its floor of {min_width}"):
            action_type(ratio, round_to, min_width).apply(arch, NOTHING)


def test_a_ratio_without_an_exact_fraction_costs_no_channel():
    assert PruneFPN(0.9, round_to=8, min_width=1).apply(with_widths(fpn=160), NOTHING).child.neck.width == 16


@pytest.mark.parametrize(("action", "owner"), [(PruneFPN(), "FPN"), (PruneRPN(), "RPN"), (PruneBoxHead(), "box")])
def test_a_width_at_or_below_its_floor_cannot_be_pruned(action, owner):
    for arch in (with_widths(32, 32, 128), with_widths(31, 20, 100)):
        with pytest.raises(IllegalAction, match=f"the {owner}.* floor of {action.min_width}"):
            action.apply(arch, NOTHING)


@pytest.mark.parametrize(("action", "part"), [(PruneRPN(), "RPN"), (PruneBoxHead(), "box head")])
def test_a_retinanet_has_neither_rpn_nor_box_head(action, part):
    with pytest.raises(IllegalAction, match=f"retinanet has no {part}"):
        action.apply(RETINANET, NOTHING)


def test_a_retinanets_pyramid_can_be_pruned():
    assert PruneFPN().apply(RETINANET, NOTHING).child == replace(RETINANET, neck=FpnSpec(192))


@pytest.mark.parametrize("action_type", [PruneFPN, PruneRPN, PruneBoxHead])
@pytest.mark.parametrize("settings", [{"ratio": 0}, {"ratio": 1}, {"round_to": 0}, {"min_width": 0}])
def test_impossible_settings_are_the_users_error(action_type, settings):
    with pytest.raises(InputError, match="between 0 and 1"):
        action_type(**settings)


@pytest.mark.parametrize(
    ("action", "arch", "cheaper"),
    [
        (PruneFPN(), R18, {"neck", "rpn", "head"}),
        (PruneRPN(), R18, {"rpn"}),
        (PruneBoxHead(), R18, {"head"}),
        (PruneFPN(), RETINANET, {"neck", "head"}),
    ],
)
def test_the_parts_that_have_the_width_get_cheaper_and_the_others_stay(action, arch, cheaper):
    before, after = count_parts(arch), count_parts(action.apply(arch, NOTHING).child)

    for part, cost in before.items():
        fell = (after[part].params < cost.params, after[part].macs < cost.macs)
        assert fell == ((True, True) if part in cheaper else (False, False)), part
        assert part in cheaper or after[part] == cost


def test_all_transposed_convolutions_of_a_centernet_are_narrowed_and_those_at_the_floor_stay() -> None:
    assert PruneDeconv().apply(CENTERNET, NOTHING).child == replace(CENTERNET, neck=DeconvSpec(192, 192, 192))
    uneven = replace(CENTERNET, neck=DeconvSpec(256, 128, 32))
    assert PruneDeconv().apply(uneven, NOTHING).child.neck == DeconvSpec(192, 96, 32)
    with pytest.raises(IllegalAction, match="deconvolution's width of 32 cannot be pruned below its floor of 32"):
        PruneDeconv().apply(replace(CENTERNET, neck=DeconvSpec(32, 32, 24)), NOTHING)


def test_the_branches_of_a_centernet_are_narrowed_together_and_it_has_no_fpn() -> None:
    assert PruneBranches().apply(CENTERNET, NOTHING).child == replace(CENTERNET, head=CenterNetHead(48))
    for action in (PruneFPN(), PruneRPN(), PruneBoxHead()):
        with pytest.raises(IllegalAction, match="centernet has no"):
            action.apply(CENTERNET, NOTHING)
    with pytest.raises(IllegalAction, match="faster_rcnn has no deconvolution"):
        PruneDeconv().apply(R18, NOTHING)
