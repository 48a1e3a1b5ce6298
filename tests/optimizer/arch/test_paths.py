"""DetNAS' spaces of paths."""

from __future__ import annotations

from random import Random

import pytest

from optimizer.arch.paths import PathSubnet, PathSubnets
from optimizer.errors import InputError

SIZES = ((320, 256),)


@pytest.mark.parametrize(
    ("family", "count"), [("shufflenetv2_20", 4**20), ("shufflenetv2_40", 4**40), ("shufflenetv2_40w", 4**40)]
)
def test_the_papers_spaces_have_four_blocks_in_every_place(family: str, count: int) -> None:
    assert PathSubnets(family, SIZES).count() == count


def test_the_operations_of_random_paths_are_the_papers() -> None:
    """Of random 20-place paths at 224x224 the middle one has 294 M, and 69 % have at most 300 M (FACTS 2.2)."""
    space = PathSubnets("shufflenetv2_20", ((224, 224),))
    ends = [space.body(path).count((224, 224)).macs / 1e6 for path in (space.smallest(), space.largest())]
    rng = Random(0)
    drawn = sorted(space.body(space.sample(rng)).count((224, 224)).macs / 1e6 for _ in range(400))
    assert ends == pytest.approx([237.2, 365.5], abs=0.1) and ends[0] < drawn[0] and drawn[-1] < ends[1]
    assert drawn[0] == pytest.approx(245, abs=5) and drawn[-1] == pytest.approx(341, abs=12)
    assert drawn[200] == pytest.approx(294, abs=3)
    assert sum(macs <= 300 for macs in drawn) / 400 == pytest.approx(0.69, abs=0.08)


def test_a_path_is_named_by_its_blocks() -> None:
    path = PathSubnet((2, 1, 3), (320, 256))
    assert str(path) == "213 at 320x256"
    with pytest.raises(InputError, match="not a path of blocks"):
        PathSubnet.from_json({"kind": "path", "choices": [1]})


@pytest.mark.parametrize(
    ("family", "choices"),
    [("r18", (0, 1)), ("shufflenetv2_20", (1, 0)), ("shufflenetv2_20", (5,)), ("shufflenetv2_20", ())],
)
def test_what_is_no_space_is_refused(family: str, choices: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="space of paths"):
        PathSubnets(family, SIZES, choices=choices)
