"""The teacher pool as arithmetic, against the paper's own sizes and costs (FACTS 1.3)."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

import pytest

from optimizer.arch.families import FAMILIES
from optimizer.arch.macs import count
from optimizer.arch.pool import ElasticSpace, ElasticSubnet
from optimizer.errors import InputError

SIZES = ((1333, 800), (1080, 720), (800, 600), (512, 512))
PAPER = ElasticSpace(
    "r101",
    depths=((2, 3), (2, 3, 4), tuple(range(2, 24)), (2, 3)),
    widths=(1.0, 1.25, 1.5),
    sizes=SIZES,
)
FIRST_SHRINKING = replace(PAPER, depths=((3,), (4,), tuple(range(12, 24)), (3,)), widths=(1.25, 1.5))
DRAWS = 200


def test_the_pool_has_as_many_members_as_the_paper_says() -> None:
    assert FIRST_SHRINKING.count() == 192
    assert PAPER.count() == 21_384


@pytest.mark.parametrize(
    ("depths", "width", "size", "expected"),
    [
        ((3, 4, 23, 3), 1.5, (1333, 800), 504.72),
        ((2, 2, 2, 2), 1.0, (1333, 800), 178.23),
        ((3, 4, 23, 3), 1.25, (1333, 800), 390.02),
        ((3, 4, 23, 3), 1.5, (1080, 720), 372.0),
        ((2, 2, 2, 2), 1.0, (1080, 720), 133.8),
        ((3, 4, 23, 3), 1.25, (1080, 720), 288.29),
    ],
)
def test_members_cost_what_the_facts_say(
    depths: tuple[int, ...], width: float, size: tuple[int, int], expected: float
) -> None:
    arch = PAPER.arch(ElasticSubnet(depths, (width,) * 4, size))
    assert count(arch).flops_mmdet / 1e9 == pytest.approx(expected, abs=0.06)


def test_the_largest_member_is_the_super_network_and_the_smallest_the_other_end() -> None:
    assert PAPER.largest() == ElasticSubnet((3, 4, 23, 3), (1.5,) * 4, (1333, 800))
    assert PAPER.smallest() == ElasticSubnet((2, 2, 2, 2), (1.0,) * 4, (1333, 800))
    assert PAPER.contains(PAPER.largest()) and PAPER.contains(PAPER.smallest())


def test_a_member_is_as_deep_and_wide_as_it_says() -> None:
    arch = PAPER.arch(ElasticSubnet((3, 2, 7, 2), (1.0, 1.25, 1.5, 1.0), (800, 600)))
    assert arch.body.depths == (3, 2, 7, 2) and arch.input_size == (800, 600)
    assert [stage.blocks[-1].widths for stage in arch.body.stages] == [
        (64, 64, 256), (160, 160, 640), (384, 384, 1536), (512, 512, 2048)
    ]  # fmt: skip
    assert arch.body.stem_width == 64
    assert [[block.projection for block in stage.blocks].count(True) for stage in arch.body.stages] == [1, 1, 1, 1]
    assert all(stage.blocks[0].projection for stage in arch.body.stages)


def test_every_member_has_the_anchors_of_the_largest_canvas() -> None:
    scales = {PAPER.arch(replace(PAPER.largest(), size=size)).head.anchor_scale for size in SIZES}
    assert scales == {8}


def test_a_family_of_basic_blocks_and_a_retinanet_have_members_too() -> None:
    pool = ElasticSpace("r18", ((1, 2),) * 4, (1.0, 1.5), ((128, 96),), detector="retinanet")
    arch = pool.arch(pool.largest())
    assert arch.head.kind == "retinanet" and arch.body.stages[0].blocks[0].widths == (96, 96)
    assert PAPER.arch(PAPER.smallest()).head.kind == "faster_rcnn"


def test_draws_and_mutations_stay_inside() -> None:
    rng = Random(0)
    member = PAPER.largest()
    for _ in range(DRAWS):
        assert PAPER.contains(PAPER.sample(rng))
        member = PAPER.mutate(member, rng)
        assert PAPER.contains(member)


def test_a_crossover_takes_every_choice_from_one_of_its_parents() -> None:
    rng = Random(4)
    one = ElasticSubnet((2, 2, 2, 2), (1.0,) * 4, (1333, 800))
    other = ElasticSubnet((3, 4, 23, 3), (1.5,) * 4, (512, 512))
    children = [PAPER.crossover(one, other, rng) for _ in range(DRAWS)]
    for stage in range(4):
        assert {child.depths[stage] for child in children} == {one.depths[stage], other.depths[stage]}
        assert {child.widths[stage] for child in children} == {1.0, 1.5}
    assert {child.size for child in children} == {one.size, other.size}
    assert len(set(children)) > DRAWS / 2, "choices are independent of each other"
    assert PAPER.crossover(one, one, rng) == one


def test_representatives_are_the_ends_and_a_middle_each_once() -> None:
    middle = ElasticSubnet((3, 3, 13, 3), (1.25,) * 4, (1333, 800))
    assert PAPER.representatives() == (PAPER.largest(), middle, PAPER.smallest())
    alone = ElasticSpace("r18", ((2,),) * 4, (1.0,), ((64, 64),))
    assert alone.representatives() == (alone.largest(),)


def test_draws_reach_every_choice() -> None:
    rng = Random(1)
    drawn = [PAPER.sample(rng) for _ in range(DRAWS * 4)]
    for stage in range(4):
        assert {member.depths[stage] for member in drawn} == set(PAPER.depths[stage])
        assert {member.widths[stage] for member in drawn} == set(PAPER.widths)
    assert {member.size for member in drawn} == set(SIZES)


def test_a_mutation_changes_one_stage_or_the_canvas() -> None:
    rng = Random(2)
    changed = set()
    for _ in range(DRAWS):
        before = PAPER.sample(rng)
        after = PAPER.mutate(before, rng)
        stages = [
            stage
            for stage in range(4)
            if (before.depths[stage], before.widths[stage]) != (after.depths[stage], after.widths[stage])
        ]
        assert len(stages) + (before.size != after.size) == 1
        changed |= {*stages} or {"canvas"}
    assert changed == {0, 1, 2, 3, "canvas"}


def test_the_only_member_of_a_pool_mutates_into_itself() -> None:
    alone = ElasticSpace("r18", ((2,),) * 4, (1.0,), ((64, 64),))
    assert alone.count() == 1
    assert alone.mutate(alone.largest(), Random(0)) == alone.largest() == alone.smallest() == alone.sample(Random(0))


def test_a_pool_of_two_members_mutates_into_the_other_one() -> None:
    for pool in (
        ElasticSpace("r18", ((1, 2), (2,), (2,), (2,)), (1.0,), ((64, 64),)),
        ElasticSpace("r18", ((2,),) * 4, (1.0,), ((96, 96), (64, 64))),
    ):
        assert all(pool.mutate(pool.largest(), Random(seed)) != pool.largest() for seed in range(20))


def test_equal_random_numbers_give_equal_members() -> None:
    assert PAPER.sample(Random(5)) == PAPER.sample(Random(5))
    assert PAPER.mutate(PAPER.largest(), Random(5)) == PAPER.mutate(PAPER.largest(), Random(5))


@pytest.mark.parametrize(
    "stranger",
    [
        ElasticSubnet((3, 4, 24, 3), (1.5,) * 4, (1333, 800)),
        ElasticSubnet((3, 4, 23, 3), (1.5, 1.5, 1.5, 1.1), (1333, 800)),
        ElasticSubnet((3, 4, 23, 3), (1.5,) * 4, (640, 480)),
        ElasticSubnet((3, 4, 23), (1.5,) * 4, (1333, 800)),
        ElasticSubnet((3, 4, 23, 3), (1.5,) * 3, (1333, 800)),
        ElasticSubnet((3, 4, 23, 3, 3), (1.5,) * 5, (1333, 800)),
    ],
)
def test_what_is_no_member_is_not_contained(stranger: ElasticSubnet) -> None:
    assert not PAPER.contains(stranger)


def test_a_member_survives_json() -> None:
    rng = Random(3)
    for _ in range(20):
        member = PAPER.sample(rng)
        assert ElasticSubnet.from_json(json.loads(json.dumps(member.to_json()))) == member


@pytest.mark.parametrize(
    "value",
    [
        {}, None, [], "large", {"depths": [2, 2, 2, 2], "widths": [1, 1, 1, 1]},
        {"depths": "abcd", "widths": [1, 1, 1, 1], "size": [64, 64]},
        {"depths": [2, 2, 2, 2], "widths": [1, 1, 1, None], "size": [64, 64]},
        {"depths": [2, 2, 2, 2], "widths": [1, 1, 1, 1], "size": [64]},
    ],
)  # fmt: skip
def test_bad_json_is_refused_with_what_is_wrong(value: object) -> None:
    with pytest.raises(InputError, match="not a member of a teacher pool"):
        ElasticSubnet.from_json(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "x101"}, "made from one of r18, r50, r101, ofa_resnet50, not 'x101'"),
        ({"family": "vgg"}, "not 'vgg'"),
        ({"depths": ((2,),) * 3}, "a choice of depths for each of four stages"),
        ({"depths": ((2,), (2,), (), (2,))}, "a choice of depths"),
        ({"depths": ((2,), (2,), (0, 1), (2,))}, "a choice of depths"),
        ({"widths": ()}, "at least one width coefficient"),
        ({"widths": (0.0, 1.0)}, "above 0"),
        ({"sizes": ()}, "one canvas"),
    ],
)
def test_impossible_pools_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(PAPER, **changes)  # type: ignore[arg-type]
    assert not FAMILIES["x101"].sliceable, "grouped convolutions are not sliced"


def test_a_member_reads_well() -> None:
    assert (
        str(ElasticSubnet((3, 4, 23, 3), (1.5, 1.25, 1.0, 1.5), (1333, 800)))
        == "[3-4-23-3] x 1.5/1.25/1/1.5 at 1333x800"
    )
