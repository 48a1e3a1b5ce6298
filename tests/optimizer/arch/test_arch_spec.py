import hashlib
import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.arch import ArchSpec, BlockSpec, FasterRCNNHead, FpnSpec, ResNetSpec, RetinaNetHead, StageSpec, base_arch
from optimizer.arch.flat import flat_from_parts
from optimizer.arch.heads import Levels
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
        replace(arch, neck=FpnSpec(128)),
        replace(arch, head=replace(arch.head, anchor_scale=8)),
        replace(arch, head=FasterRCNNHead(region_proposals=300)),
        replace(arch, head=RetinaNetHead()),
    ]

    assert len({arch.arch_id, *(other.arch_id for other in others)}) == 6


def test_an_arch_is_immutable():
    with pytest.raises(FrozenInstanceError):
        base_arch("r18", (512, 512)).neck.width = 1


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
    stages = list(base_arch("r18", (512, 512)).body.stages)
    head, tail = stages[1].blocks
    stages[1] = StageSpec((replace(head, projection=False), tail))

    with pytest.raises(InputError, match=r"block 2\.1 maps 64 to 128"):
        ResNetSpec(tuple(stages))


def test_only_the_first_block_of_a_later_stage_has_a_stride():
    stages = list(base_arch("r18", (512, 512)).body.stages)
    stages[2] = StageSpec(stages[2].blocks[::-1])

    with pytest.raises(InputError):
        ResNetSpec(tuple(stages))


@pytest.mark.parametrize("count", [0, 3, 5])
def test_a_backbone_has_four_stages(count):
    stage = base_arch("r18", (512, 512)).body.stages[0]

    with pytest.raises(InputError, match="four stages"):
        ResNetSpec((stage,) * count)


def damage(value: dict, path: tuple[str, ...], new: object) -> dict:
    """A copy of some JSON with another value at a path of keys."""
    key, *rest = path
    return {**value, key: damage(value[key], tuple(rest), new) if rest else new}


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (("head",), {"kind": "yolo"}),
        (("head",), {"kind": "retinanet", "colour": 1}),
        (("head", "box_width"), 0),
        (("head", "anchor_scale"), 0),
        (("head",), {"box_width": 1024}),
        (("head",), None),
        (("neck",), {"kind": "fpn", "depth": 2}),
        (("neck", "width"), 0),
        (("neck", "kind"), "deconvolution"),
        (("body", "kind"), "vgg"),
        (("body", "stages"), [{}]),
        (("body", "stages"), [{"blocks": [{"widths": ["a", "b"]}]}]),
        (("body", "stem_width"), "64"),
        (("body", "stem_width"), 0),
        (("input_size",), [512]),
        (("input_size",), ["wide", 512]),
        (("schema",), 3),
    ],
)
def test_json_that_is_no_arch_is_the_users_error(path, new):
    good = json.loads(base_arch("r18", (512, 512)).to_text())

    with pytest.raises(InputError):
        ArchSpec.from_json(damage(good, path, new))


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (("head",), {"kind": "yolo"}),
        (("head",), {"kind": "retinanet", "colour": 1}),
        (("head", "box_width"), 0),
        (("stages",), [{}]),
        (("stages",), [{"blocks": [{"widths": ["a", "b"]}]}]),
        (("input_size",), [512]),
        (("input_size",), ["wide", 512]),
        (("stem_width",), "64"),
        (("anchor_scale",), 0),
    ],
)
def test_flat_json_that_is_no_arch_is_the_users_error(path, new):
    good = flat_from_parts(base_arch("r18", (512, 512)).to_json())

    with pytest.raises(InputError):
        ArchSpec.from_json(damage(good, path, new))


@pytest.mark.parametrize("value", [{}, {"head": {"kind": "retinanet"}}, {"schema": 2}, [], "r18"])
def test_json_without_the_parts_is_the_users_error(value):
    with pytest.raises(InputError, match="not an architecture"):
        ArchSpec.from_json(value)


IDS = [  # as version 0.1.0 made them
    (base_arch("r18", (320, 240), region_proposals=200), "423a9d86e772"),
    (base_arch("r50", (1333, 800)), "beb358469260"),
    (base_arch("x101", (512, 512)), "7e041490d88d"),
    (base_arch("r101", (800, 600), "retinanet"), "f5d1b5702644"),
    (
        ArchSpec((96, 64), base_arch("r18", (96, 64)).body, FpnSpec(40), RetinaNetHead(2, anchor_scale=8)),
        "dd5193b20594",
    ),
]


@pytest.mark.parametrize(("arch", "arch_id"), IDS)
def test_the_ids_of_version_0_1_0_have_not_moved(arch, arch_id):
    assert arch.arch_id == arch_id


@pytest.mark.parametrize(("arch", "arch_id"), IDS)
def test_the_flat_json_of_version_0_1_0_is_read(arch, arch_id):
    flat = flat_from_parts(arch.to_json())
    text = json.dumps(flat, sort_keys=True, separators=(",", ":"))

    assert {*flat} == {"stages", "input_size", "head", "stem_width", "fpn_width", "anchor_scale"}
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == arch_id
    assert ArchSpec.from_json(json.loads(text)) == arch


def test_the_json_says_its_schema_and_the_kind_of_each_part():
    value = json.loads(base_arch("r18", (512, 512)).to_text())

    assert (value["schema"], value["body"]["kind"], value["neck"]["kind"]) == (2, "resnet", "fpn")
    assert value["head"] == {
        "kind": "faster_rcnn", "rpn_width": 256, "box_width": 1024, "region_proposals": 1000, "anchor_scale": 4
    }  # fmt: skip


def test_json_of_a_later_release_is_refused_with_what_can_be_read():
    value = {**base_arch("r18", (512, 512)).to_json(), "schema": 3}

    with pytest.raises(InputError, match="schema version 3; this release reads 1 and 2"):
        ArchSpec.from_json(value)


def test_a_head_and_a_body_that_no_pyramid_joins_are_refused():
    class Finer(FasterRCNNHead):
        levels = Levels((2, 4, 8))

    with pytest.raises(InputError, match=r"strides \(2, 4, 8\).*no pyramid joins them"):
        replace(base_arch("r18", (512, 512)), head=Finer())
