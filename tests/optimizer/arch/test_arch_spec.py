import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.arch import ArchSpec, BlockSpec, FasterRCNNHead, RetinaNetHead, StageSpec, base_arch
from optimizer.errors import InputError


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_an_arch_survives_json(data, dense_archs):
    arch = data.draw(dense_archs)

    restored = ArchSpec.from_json(json.loads(arch.to_text()))

    assert restored == arch
    assert hash(restored) == hash(arch)
    assert restored.arch_id == arch.arch_id


@pytest.mark.parametrize("head", [FasterRCNNHead(64, 128, 300), RetinaNetHead(2)])
def test_both_heads_survive_json(head):
    arch = replace(base_arch("x101", (512, 512)), head=head)

    assert ArchSpec.from_json(json.loads(arch.to_text())) == arch


def test_the_arch_id_is_the_same_in_a_fresh_process():
    program = "from optimizer.arch import base_arch; print(base_arch('r50', (800, 600)).arch_id)"

    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == base_arch("r50", (800, 600)).arch_id
    assert len(printed.strip()) == 12


def test_every_field_counts_in_the_arch_id():
    arch = base_arch("r18", (512, 512))
    others = [
        arch.with_size(512, 513),
        replace(arch, fpn_width=128),
        replace(arch, anchor_scale=8),
        replace(arch, head=FasterRCNNHead(region_proposals=300)),
        replace(arch, head=RetinaNetHead()),
    ]

    assert len({arch.arch_id, *(other.arch_id for other in others)}) == 6


def test_an_arch_is_immutable():
    with pytest.raises(FrozenInstanceError):
        base_arch("r18", (512, 512)).fpn_width = 1


@pytest.mark.parametrize("side", [(63, 512), (512, 63), (0, 0), (-1, 512)])
def test_a_canvas_too_small_for_the_network_is_refused(side):
    with pytest.raises(InputError, match="too small"):
        base_arch("r18", side)


def test_the_smallest_canvas_is_accepted():
    assert base_arch("r18", (64, 64)).input_size == (64, 64)


@pytest.mark.parametrize(
    ("widths", "stride", "group_width"),
    [
        ((64,), 1, 0),
        ((1, 1, 1, 1), 1, 0),
        ((64, 0), 1, 0),
        ((64, 64), 3, 0),
        ((64, 64), 1, 4),
        ((64, 32, 256), 1, 4),
        ((62, 62, 256), 1, 4),
    ],
)
def test_an_impossible_block_is_refused(widths, stride, group_width):
    with pytest.raises(InputError):
        BlockSpec(widths, stride, group_width)


def test_a_shortcut_that_cannot_be_an_identity_needs_a_projection():
    stages = list(base_arch("r18", (512, 512)).stages)
    head, tail = stages[1].blocks
    stages[1] = StageSpec((replace(head, projection=False), tail))

    with pytest.raises(InputError, match=r"block 2\.1 maps 64 to 128"):
        ArchSpec(tuple(stages), (512, 512))


def test_only_the_first_block_of_a_later_stage_has_a_stride():
    stages = list(base_arch("r18", (512, 512)).stages)
    stages[2] = StageSpec(stages[2].blocks[::-1])

    with pytest.raises(InputError):
        ArchSpec(tuple(stages), (512, 512))


@pytest.mark.parametrize("count", [0, 3, 5])
def test_a_backbone_has_four_stages(count):
    stage = base_arch("r18", (512, 512)).stages[0]

    with pytest.raises(InputError, match="four stages"):
        ArchSpec((stage,) * count, (512, 512))


@pytest.mark.parametrize(
    "damage",
    [
        {"head": {"kind": "yolo"}},
        {"head": {"kind": "retinanet", "colour": 1}},
        {"head": {"kind": "faster_rcnn", "box_width": 0}},
        {"stages": [{}]},
        {"stages": [{"blocks": [{"widths": ["a", "b"]}]}]},
        {"input_size": [512]},
        {"input_size": ["wide", 512]},
        {"stem_width": "64"},
    ],
)
def test_json_that_is_no_arch_is_the_users_error(damage):
    good = json.loads(base_arch("r18", (512, 512)).to_text())

    with pytest.raises(InputError):
        ArchSpec.from_json({**good, **damage})


def test_json_without_stages_is_the_users_error():
    with pytest.raises(InputError, match="not an architecture"):
        ArchSpec.from_json({"head": {"kind": "retinanet"}})
