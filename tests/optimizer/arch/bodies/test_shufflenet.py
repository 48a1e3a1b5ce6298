"""DetNAS' bodies: their cost as the papers count it, their encodings, and what is no path."""

from __future__ import annotations

import pytest

from optimizer.arch.bodies import ShuffleBlock, ShuffleNetSpec, StageSpec
from optimizer.arch.bodies.shufflenet import read_choices
from optimizer.arch.families import FAMILIES, PATH_SPACES, body_from_choices, count_path
from optimizer.errors import InputError

DETNASNET = "00312102 03123320 2113202221310333 13333333"
CLAIMS = [  # encoding, space, M of the body alone, with the classifier (FACTS 2.2, 3.3)
    ("2120 2112 33130031 3132", "shufflenetv2_20", 288.1, 321.2),
    ("0001 2033 12223331 3232", "shufflenetv2_20", 299.9, 333.1),
    ("2311 3213 31113320 3333", "shufflenetv2_20", 291.2, 324.3),
    (DETNASNET, "shufflenetv2_40", 1269.2, 1318.4),
    (DETNASNET, "shufflenetv2_40w", 3937.8, 4085.9),
    ("0" * 20, "shufflenetv2_20", 262.7, 295.8),
    ("1" * 20, "shufflenetv2_20", 280.5, 313.7),
    ("2" * 20, "shufflenetv2_20", 307.2, 340.4),
    ("3" * 20, "shufflenetv2_20", 325.7, 358.8),
    ("0" * 40, "shufflenetv2_40", 1036.7, 1085.9),
    ("3" * 40, "shufflenetv2_40", 1391.2, 1440.4),
]


@pytest.mark.parametrize(("text", "space", "alone", "whole"), CLAIMS)
def test_operations_are_those_of_the_papers(text: str, space: str, alone: float, whole: float) -> None:
    name, body = body_from_choices(text, space)
    assert name == space
    found = [macs / 1e6 for macs in count_path(body, PATH_SPACES[space])]
    assert found == pytest.approx([alone, whole], rel=1e-3)


def test_a_path_says_its_encoding() -> None:
    name, body = body_from_choices("[2,1,2,0, 2,1,1,2 | 3-3-1-3-0-0-3-1] 3132")
    assert (name, body.encode()) == ("shufflenetv2_20", "2120 2112 33130031 3132")
    assert body.choices[:4] == (2, 1, 2, 0) and body_from_choices(body.encode())[1] == body
    assert FAMILIES["shufflenetv2_20"].encode() == "0000 0000 00000000 0000"
    assert [len(CLAIMS[row][0].replace(" ", "")) for row in (0, 3)] == [20, 40]


def test_a_stage_puts_out_a_map_of_its_stride() -> None:
    maps = FAMILIES["shufflenetv2_20"].maps((130, 97))
    assert [(level.width, level.stride, level.columns, level.rows) for level in maps] == [
        (64, 4, 33, 25), (160, 8, 17, 13), (320, 16, 9, 7), (640, 32, 5, 4)
    ]  # fmt: skip


def test_a_block_that_heads_a_stage_projects_all_channels_and_others_let_half_pass() -> None:
    head, inner = ShuffleBlock((64,), 2, choice=1), ShuffleBlock((64,), 1, choice=3)
    assert [(layer.conv, layer.shape) for layer in head.list_layers(16)] == [
        ("branch.conv1", (32, 16, 1, 1)), ("branch.conv2", (32, 1, 5, 5)), ("branch.conv3", (48, 32, 1, 1)),
        ("projection.conv1", (16, 1, 5, 5)), ("projection.conv2", (16, 16, 1, 1)),
    ]  # fmt: skip
    assert [layer.shape for layer in inner.list_layers(64)] == [
        (32, 1, 3, 3), (32, 32, 1, 1), (32, 1, 3, 3), (32, 32, 1, 1), (32, 1, 3, 3), (32, 32, 1, 1)
    ]  # fmt: skip
    assert head.starts_stream and not inner.starts_stream


@pytest.mark.parametrize("text", ["", "21x0", "4" * 20, "0.1"])
def test_what_is_no_encoding_is_said(text: str) -> None:
    with pytest.raises(InputError, match="digit from 0 to 3 for each place"):
        read_choices(text)


@pytest.mark.parametrize(
    ("text", "space"), [("0" * 19, ""), ("0" * 20, "shufflenetv2_40"), ("0" * 40, "shufflenetv2_20")]
)
def test_an_encoding_of_other_places_is_refused_with_those_there_are(text: str, space: str) -> None:
    with pytest.raises(InputError, match=f"encoding of {len(text)} places .* shufflenetv2_20 20, shufflenetv2_40 40"):
        body_from_choices(text, space)


def test_an_unknown_space_is_refused() -> None:
    with pytest.raises(InputError, match="no space 'shufflenetv2_30'"):
        body_from_choices("0" * 20, "shufflenetv2_30")


def test_what_is_no_shufflenet_is_refused() -> None:
    with pytest.raises(InputError, match="one even output width"):
        ShuffleBlock((63,))
    with pytest.raises(InputError, match="choice from 0 to 3"):
        ShuffleBlock((64,), 1, 4)
    stages = FAMILIES["shufflenetv2_20"].stages
    with pytest.raises(InputError, match="has stride 2"):
        ShuffleNetSpec((StageSpec((ShuffleBlock((64,)),)), *stages[1:]))
    with pytest.raises(InputError, match="maps 64 to 66"):
        ShuffleNetSpec((StageSpec((*stages[0].blocks, ShuffleBlock((66,)))), *stages[1:]))
    with pytest.raises(InputError, match="split or halves"):
        ShuffleNetSpec(stages, shuffle="deal")
