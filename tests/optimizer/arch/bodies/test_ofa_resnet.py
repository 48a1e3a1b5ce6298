"""Once-for-all's ResNet: its widths and operations as the papers have them, its encodings, and what is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from optimizer.arch import count
from optimizer.arch.bodies.ofa_resnet import DEPTHS, EXPANDS, WIDTHS, OfaShape, read_ofa, round_width, write_runs
from optimizer.arch.families import FAMILIES, OFA_SHAPES, base_arch, body_from_ofa, count_classifier
from optimizer.errors import InputError

SHAPE = OfaShape()
TABLE = {  # by W: stem inner, stem output, stages (FACTS 4.1)
    0.65: (24, 40, 168, 336, 664, 1328),
    0.8: (24, 48, 208, 408, 816, 1640),
    1.0: (32, 64, 256, 512, 1024, 2048),
}
INNER = {  # by W: of each stage, by E
    0.65: ((32, 40, 56), (64, 88, 120), (136, 168, 232), (264, 336, 464)),
    0.8: ((40, 56, 72), (80, 104, 144), (160, 208, 288), (328, 408, 576)),
    1.0: ((48, 64, 88), (104, 128, 176), (208, 256, 360), (408, 512, 720)),
}


def test_widths_are_the_papers() -> None:
    assert tuple(TABLE) == WIDTHS and DEPTHS == (0, 1, 2) and EXPANDS == (0.2, 0.25, 0.35)
    for width, row in TABLE.items():
        body = SHAPE.make((0,) * 4, (0.2,) * 18, (width,) * 4, (width, width, 2))
        assert (body.stem_inner, body.stem_width, *[stage.out_width for stage in body.stages]) == row
        for column, expand in enumerate(EXPANDS):
            body = SHAPE.make((2,) * 4, (expand,) * 18, (width,) * 4)
            inner = [block.widths[:2] for _, _, block in body.blocks()]
            expected = [INNER[width][stage][column] for stage, _, _ in body.blocks()]
            assert inner == [(width, width) for width in expected]


def test_a_width_is_a_multiple_of_8_and_no_tenth_less() -> None:
    assert [round_width(width) for width in (1, 11.9, 12, 20.8, 35, 83)] == [8, 16, 16, 24, 32, 80]
    assert all(round_width(width) >= 0.9 * width and round_width(width) % 8 == 0 for width in range(1, 500))


@pytest.mark.parametrize(
    ("encoding", "depths", "giga"),
    [("D2 E0.35 W1", (4, 4, 6, 4), 7.4916), ("D0 E0.2 W0.65 S0.65,0.65,0", (2, 2, 4, 2), 0.9622)],
)
def test_the_ends_have_the_operations_of_the_papers(encoding: str, depths: tuple[int, ...], giga: float) -> None:
    named = body_from_ofa(f"ofa_resnet50:{encoding}")
    assert named is not None
    name, body = named
    assert name == "ofa_resnet50" and body.depths == depths
    assert count_classifier(body) / 1e9 == pytest.approx(giga, rel=1e-4)


@pytest.mark.parametrize(
    ("side", "classes", "giga"), [(512, 80, (53.98, 19.12)), (512, 20, (53.92, 19.05)), (384, 20, (30.33, 10.72))]
)
def test_with_a_centernet_the_operations_are_detofas(side: int, classes: int, giga: tuple[float, float]) -> None:
    """FACTS 2.3; those at 384x384 are of Pascal VOC's 20 classes."""
    whole = base_arch("ofa_resnet50", (side, side), "centernet")
    ends = [replace(whole, body=read_ofa(text, SHAPE)) for text in ("D2 E0.35 W1", "D0 E0.2 W0.65 S0.65,0.65,0")]
    assert [count(arch, classes).macs / 1e9 for arch in ends] == pytest.approx(giga, abs=0.006)


def test_the_family_is_the_largest() -> None:
    assert FAMILIES["ofa_resnet50"] == read_ofa("D2 E0.35 W1", SHAPE) == OFA_SHAPES["ofa_resnet50"].largest()
    assert body_from_ofa("r50") is body_from_ofa("detnas:2120") is None


def test_choices_are_one_for_all_or_one_for_each() -> None:
    body = read_ofa("W1,0.8*2,0.65 D2,1,0*2 E0.2,0.25,0.35,0.2", SHAPE)
    assert body.depths == (4, 3, 4, 2)
    assert [stage.out_width for stage in body.stages] == [256, 408, 816, 1328]
    assert [stage.blocks[-1].widths[0] for stage in body.stages] == [48, 104, 288, 264]
    by_block = read_ofa("W1,0.8*2,0.65 D2,1,0*2 E0.2*4,0.25*3,0.35*4,0.2*2", SHAPE)
    by_place = read_ofa("W1,0.8*2,0.65 D2,1,0*2 E0.2*4,0.25*4,0.35*6,0.2*4", SHAPE)
    assert body == by_block == by_place


def test_runs_of_numbers_are_written_as_they_are_read() -> None:
    assert write_runs((2, 2, 2)) == "2" and write_runs((1.0, 0.8, 0.8, 0.65)) == "1,0.8*2,0.65"


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("", "an encoding of D, E and W"), ("D2 E0.35", "an encoding of D, E and W"),
        ("D2 E0.35 W1 X3", "an encoding of D, E and W"), ("D2 D1 E0.35 W1", "D is there twice"),
        ("D3 E0.35 W1", "D is chosen from 0, 1, 2"), ("D2 E0.3 W1", "E is chosen from"),
        ("D2,1 E0.35 W1", "D has 1 or 4 numbers, not 2"), ("D0 E0.2,0.2 W1", "E has 1, 4, 10 or 18 numbers, not 2"),
        ("D2 E0.35 Wide", "'Wide' is no letter with numbers"), ("D2 E0.35 W1 S1", "S is two shares"),
        ("D2 E0.35 W1 S1,1,1", "depth of 0 or 2"),
    ],
)  # fmt: skip
def test_what_is_no_encoding_is_said(encoding: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_ofa(encoding, SHAPE)


def test_an_average_pool_counts_its_inputs() -> None:
    """Three of them: what stages 1 to 3 put out; multiply-accumulates are the convolutions' alone."""
    body = FAMILIES["ofa_resnet50"]
    size = (64, 64)
    pooled = sum(level.width * level.cells for level in body.maps(size)[:3])
    current, cost = body.stem_map(size), body.count_stem(size)
    for _, _, block in body.blocks():
        cost += block.count(current)
        current = block.put_out(current)
    assert body.count(size).flops_mmdet == cost.flops_mmdet + pooled and body.count(size).macs == cost.macs
