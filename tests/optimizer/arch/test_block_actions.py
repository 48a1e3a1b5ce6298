"""The choice of a block as an action."""

from __future__ import annotations

import pytest

from optimizer.arch import ChooseBlock, IllegalAction, Resize, Space, base_arch, count_parts, legal_actions
from optimizer.arch.actions import uniform_importance
from optimizer.arch.families import PATH_SPACES
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError

SIZE = (224, 224)
PATH = base_arch("shufflenetv2_20", SIZE)


def choose(arch: ArchSpec, *places: tuple[int, int, int]) -> ArchSpec:
    for place in places:
        arch = ChooseBlock(*place).apply(arch, uniform_importance(arch)).child
    return arch


def test_the_three_other_blocks_are_legal_in_every_place() -> None:
    actions = legal_actions(PATH, Space(sizes=(SIZE,), actions=("choose_block",)))
    places = {(action.stage, action.block) for action in actions if isinstance(action, ChooseBlock)}
    assert len(places) == 20 and len(actions) == 60
    assert ChooseBlock(0, 0, 0) not in actions and ChooseBlock(0, 0, 3) in actions


def test_a_chosen_block_costs_what_its_path_costs() -> None:
    child = choose(PATH, (0, 0, 2), (2, 7, 3), (3, 1, 1))
    choices = [0] * 20
    choices[0], choices[15], choices[17] = 2, 3, 1
    assert child.body == PATH_SPACES["shufflenetv2_20"].make(tuple(choices))
    assert child.body.encode() == "2000 0000 00000003 0100"
    assert count_parts(child)["backbone"] == child.body.count(SIZE)


def test_a_place_that_is_chosen_back_is_the_parent_and_a_later_choice_overrides_an_earlier_one() -> None:
    assert choose(PATH, (1, 2, 3), (1, 2, 0)) == PATH
    assert choose(PATH, (1, 2, 3), (1, 2, 1)) == choose(PATH, (1, 2, 1))
    assert ChooseBlock(1, 2, 0).overrides(ChooseBlock(1, 2, 3))
    assert not ChooseBlock(1, 2, 0).overrides(ChooseBlock(1, 1, 3))
    assert not ChooseBlock(1, 2, 0).overrides(Resize(SIZE)) and Resize((96, 96)).overrides(Resize(SIZE))


def test_layers_that_only_one_of_two_exchanged_blocks_has_are_named() -> None:
    edits = [ChooseBlock(0, block, 3).apply(PATH, uniform_importance(PATH)) for block in (0, 1)]
    new = ["branch.conv1", "branch.conv4", "branch.conv5"]
    assert [edit.list_new_layers() for edit in edits] == [
        [f"stage1.{block}.{name}" for name in new] for block in (0, 1)
    ]
    for choice in (1, 2):
        assert ChooseBlock(0, 0, choice).apply(PATH, uniform_importance(PATH)).list_new_layers() == []
    back = ChooseBlock(0, 1, 0).apply(edits[1].child, uniform_importance(edits[1].child))
    assert back.child == PATH and back.list_new_layers() == []


@pytest.mark.parametrize(
    ("arch", "action", "reason"),
    [
        (PATH, ChooseBlock(0, 0, 0), "block 0 is in this place already"),
        (PATH, ChooseBlock(0, 4, 1), "no block 5 in stage 1"),
        (base_arch("r18", SIZE), ChooseBlock(0, 0, 1), "no choice of blocks in this place"),
    ],
)
def test_what_cannot_be_chosen_is_said(arch: ArchSpec, action: ChooseBlock, reason: str) -> None:
    with pytest.raises(IllegalAction, match=reason):
        action.apply(arch, uniform_importance(arch))


@pytest.mark.parametrize("place", [(4, 0, 1), (0, -1, 1), (0, 0, 4)])
def test_no_such_place_or_block(place: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="a place has a stage from 0 to 3"):
        ChooseBlock(*place)
