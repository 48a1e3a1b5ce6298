"""The FLOPs printed in the Joint-DetNAS paper's tables, from the published encodings alone."""

import pytest
from encodings_of_the_paper import STUDENTS, parse_student

from optimizer.arch import arch_from_encoding, base_arch, count, count_parts


# The tables say 1333x800 for X101; its printed figures are those of the counting tool's default, 1280x800.
@pytest.mark.parametrize(
    ("name", "size", "printed"),
    [
        ("r18", (1333, 800), 160.5),
        ("r50", (1333, 800), 215.8),
        ("r101", (1333, 800), 295.7),
        ("x101", (1280, 800), 286.9),
    ],
)
def test_the_bases_have_the_printed_flops(name, size, printed):
    assert count(base_arch(name, size)).flops_mmdet / 1e9 == pytest.approx(printed, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "size", "printed"),
    [
        ("r18", (1080, 720), 117.3),
        ("r50", (1080, 720), 145.7),
        ("r101", (1080, 720), 153.9),
        ("x101", (1280, 800), 266.3),
    ],
)
def test_the_searched_students_have_the_printed_flops(name, size, printed):
    assert count(parse_student(name, size)).flops_mmdet / 1e9 == pytest.approx(printed, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "student", "base", "change"),
    [
        ("r18", (1080, 720), (1333, 800), -27),
        ("r50", (1080, 720), (1333, 800), -32),
        ("r101", (1080, 720), (1333, 800), -48),
        ("x101", (1280, 800), (1280, 800), -7),
    ],
)
def test_the_students_save_the_printed_percentages(name, student, base, change):
    ratio = count(parse_student(name, student)).flops_mmdet / count(base_arch(name, base)).flops_mmdet

    assert round(100 * (ratio - 1)) == change


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("r18", (160.531, 154.266, 120.887, 80.062, 50.135)),
        ("r50", (215.820, 207.065, 161.253, 104.992, 63.651)),
        ("r101", (295.697, 283.138, 219.449, 141.126, 83.126)),
    ],
)
def test_the_counter_equals_an_independent_one_on_every_canvas(name, expected):
    sizes = ((1333, 800), (1280, 800), (1080, 720), (800, 600), (512, 512))

    for size, value in zip(sizes, expected):
        assert count(base_arch(name, size)).flops_mmdet / 1e9 == pytest.approx(value, abs=6e-4)


def test_the_students_equal_an_independent_count_to_more_digits():
    counted = {
        "r18": ((1080, 720), 117.286),
        "r50": ((1080, 720), 145.767),
        "r101": ((1080, 720), 153.898),
        "x101": ((1280, 800), 266.345),
    }

    for name, (size, value) in counted.items():
        assert count(parse_student(name, size)).flops_mmdet / 1e9 == pytest.approx(value, abs=6e-4)
    assert count(parse_student("x101", (1333, 800))).flops_mmdet / 1e9 == pytest.approx(278.051, abs=6e-4)


def test_r50_by_part_equals_an_independent_count():
    parts = count_parts(base_arch("r50", (1333, 800)))

    assert parts["backbone"].macs / 1e9 == pytest.approx(87.3333, abs=6e-5)
    assert parts["neck"].macs / 1e9 == pytest.approx(60.5651, abs=6e-5)
    assert parts["rpn"].macs / 1e9 == pytest.approx(52.8498, abs=6e-5)
    assert parts["backbone"].flops_mmdet / 1e9 == pytest.approx(87.3333 + 0.4741 + 0.2049 + 0.0171, abs=2e-4)
    assert parts["neck"].flops_mmdet / 1e9 == pytest.approx(60.5651 + 0.0454, abs=1e-4)
    assert parts["rpn"].flops_mmdet / 1e9 == pytest.approx(52.8498 + 0.0241, abs=1e-4)
    assert parts["head"].flops_mmdet / 1e9 == pytest.approx(14.3043 + 0.0020, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "depths", "out_widths"),
    [
        ("r18", (1, 2, 2, 2), (64, 128, 256, 512)),
        ("r50", (3, 4, 6, 3), (205, 314, 591, 1856)),
        ("r101", (3, 4, 20, 5), (202, 300, 321, 2031)),
        ("x101", (3, 4, 23, 5), (256, 512, 1024, 2048)),
    ],
)
def test_the_students_have_the_published_depths_and_widths(name, depths, out_widths):
    arch = parse_student(name, (1080, 720))

    assert arch.body.depths == depths
    assert tuple(stage.out_width for stage in arch.body.stages) == out_widths


@pytest.mark.parametrize("name", ["r101", "x101"])
def test_the_two_moved_blocks_are_told_from_the_rest_of_stage_4(name):
    blocks = parse_student(name, (1080, 720)).body.stages[3].blocks

    assert [block.stride for block in blocks] == [2, 1, 1, 1, 1]
    assert [block.projection for block in blocks] == [True, False, True, False, False]
    assert [block.group_width for block in blocks] == ([16, 16, 32, 32, 32] if name == "x101" else [0] * 5)


def test_the_ungrouped_x101_is_not_what_was_counted():
    dense = arch_from_encoding(STUDENTS["x101"], (1280, 800))

    assert count(dense).flops_mmdet > 1.5 * count(parse_student("x101", (1280, 800))).flops_mmdet
