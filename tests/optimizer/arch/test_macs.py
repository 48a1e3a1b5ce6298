from dataclasses import replace

import pytest

from optimizer.arch import (
    BlockSpec,
    Cost,
    FasterRCNNHead,
    FpnSpec,
    RetinaNetHead,
    arch_from_encoding,
    base_arch,
    count,
    count_parts,
)
from optimizer.arch.maps import FeatureMap

TINY = arch_from_encoding("[(2, 64)], [(3, 5)], [(3, 7)], [(3, 11)]", (64, 64))


def test_the_parts_add_up_to_the_whole():
    for detector in ("faster_rcnn", "retinanet"):
        arch = base_arch("r18", (512, 512), detector)
        assert sum(count_parts(arch).values(), Cost()) == count(arch)


def test_a_retinanet_has_no_rpn():
    assert list(count_parts(base_arch("r18", (512, 512), "retinanet"))) == ["backbone", "neck", "head"]


def test_the_backbone_of_a_tiny_net_by_hand():
    stem = 3 * 64 * 49
    macs = stem * 32**2  # canvas 64: maps of 32, pooled to 16, then 8, 4, 2
    macs += (64 * 2 + 2 * 64) * 9 * 16**2
    macs += (64 * 3 * 9 + 3 * 5 * 9 + 64 * 5) * 8**2
    macs += (5 * 3 * 9 + 3 * 7 * 9 + 5 * 7) * 4**2
    macs += (7 * 3 * 9 + 3 * 11 * 9 + 7 * 11) * 2**2

    assert count_parts(TINY)["backbone"].macs == macs


def test_odd_maps_are_rounded_up():
    assert count_parts(TINY.with_size(65, 65))["backbone"].macs > count_parts(TINY.with_size(64, 64))["backbone"].macs
    assert count_parts(TINY.with_size(65, 65))["rpn"] == count_parts(TINY.with_size(68, 68))["rpn"]


@pytest.mark.parametrize(
    ("block", "in_width", "params"),
    [
        (BlockSpec((4, 6)), 6, 6 * 4 * 9 + 4 * 6 * 9 + 2 * (4 + 6)),
        (BlockSpec((4, 6), projection=True), 3, 3 * 4 * 9 + 4 * 6 * 9 + 3 * 6 + 2 * (4 + 6 + 6)),
        (BlockSpec((4, 5, 6)), 6, 6 * 4 + 4 * 5 * 9 + 5 * 6 + 2 * (4 + 5 + 6)),
        (BlockSpec((4, 4, 6), group_width=2), 6, 6 * 4 + 2 * 4 * 9 + 4 * 6 + 2 * (4 + 4 + 6)),
    ],
)
def test_parameters_of_a_block_by_hand(block, in_width, params):
    assert block.count(FeatureMap(in_width, 1, 1, 1)).params == params


def test_parameters_do_not_depend_on_canvas_or_region_proposals():
    arch = base_arch("r50", (512, 512))
    other = replace(arch.with_size(1333, 800), head=FasterRCNNHead(region_proposals=10))

    assert count(other).params == count(arch).params
    assert count(other).macs != count(arch).macs


def test_the_box_head_is_linear_in_the_region_proposals():
    def head(count: int) -> Cost:
        return count_parts(replace(TINY, head=FasterRCNNHead(region_proposals=count)))["head"]

    assert head(300).macs == 300 * head(1).macs
    assert head(1).macs == 12544 * 1024 + 1024 * 1024 + 1024 * 81 * 5


def test_the_paper_s_counter_has_no_box_for_the_background():
    head = count_parts(base_arch("r18", (512, 512)))["head"]

    assert head.macs - head.flops_mmdet == 1000 * (4 * 1024 - 2 * 1024)  # four box outputs less, two ReLUs more


def test_one_class_is_enough():
    few, many = count(TINY, num_classes=1), count(TINY, num_classes=2)

    assert many.params - few.params == 5 * 1025


def test_a_head_can_be_narrow_and_a_tower_empty():
    narrow = replace(TINY, neck=FpnSpec(16), head=FasterRCNNHead(rpn_width=8, box_width=4))
    empty = replace(TINY, neck=FpnSpec(16), head=RetinaNetHead(tower_depth=0))

    assert count_parts(narrow)["rpn"].params == 16 * 8 * 9 + 8 + 8 * 15 + 15
    assert count_parts(empty, num_classes=2)["head"].params == (16 * 9 + 1) * (9 * 2 + 9 * 4)
