import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.arch import arch_from_encoding, base_arch, encoding_from_arch
from optimizer.errors import InputError

WHOLE_R18 = "[(64, 64)-(64, 64)], [(128, 128)-(128, 128)], [(256, 256)-(256, 256)], [(512, 512)-(512, 512)]"
TINY_RESNEXT = "[(32, 32, 64), [(64, 64, 128)], [(128, 128, 256)-(96, 96, 256)], [(80, 80, 256)-(256, 256, 512)]"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_dense_arch_survives_its_encoding(data, dense_archs):
    arch = data.draw(dense_archs)

    assert arch_from_encoding(encoding_from_arch(arch), arch.input_size) == arch


@pytest.mark.parametrize("name", ["r18", "r50", "r101"])
def test_a_base_survives_its_encoding(name):
    arch = base_arch(name, (1333, 800))

    assert arch_from_encoding(encoding_from_arch(arch), (1333, 800)) == arch


def test_the_grouped_base_survives_its_encoding_with_its_group_widths():
    arch = base_arch("x101", (1333, 800))

    assert arch_from_encoding(encoding_from_arch(arch), (1333, 800), (4, 8, 16, 32)) == arch


def test_an_encoding_is_printed_as_the_papers_do_with_every_bracket():
    assert encoding_from_arch(base_arch("r18", (512, 512))) == WHOLE_R18


@pytest.mark.parametrize(
    "damaged",
    [
        WHOLE_R18.replace("]", "", 1),
        WHOLE_R18[1:],
        WHOLE_R18[1:].replace("]", "", 1),
        WHOLE_R18.replace(" ", ""),
        "[" + WHOLE_R18 + "]",
        WHOLE_R18.replace(" ", "\n"),
    ],
)
def test_lost_brackets_and_other_spacing_do_not_matter(damaged):
    assert arch_from_encoding(damaged, (512, 512)) == base_arch("r18", (512, 512))


def test_a_moved_block_keeps_the_group_width_of_the_stage_it_came_from():
    arch = arch_from_encoding(TINY_RESNEXT, (512, 512), (4, 8, 16, 32))

    assert [[block.group_width for block in stage.blocks] for stage in arch.body.stages] == [
        [4],
        [8],
        [16, 16],
        [16, 32],
    ]


def test_a_moved_block_heads_its_new_stage_with_stride_and_projection():
    moved, former = arch_from_encoding(TINY_RESNEXT, (512, 512)).body.stages[3].blocks

    assert (moved.stride, moved.projection, moved.out_width) == (2, True, 256)
    assert (former.stride, former.projection, former.out_width) == (1, True, 512)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "r34",
        "[]",
        "[[[[",
        "(64, 64)",
        "[(64, 64)], [(128, 128)], [(256, 256)]",
        WHOLE_R18 + ", [(512, 512)]",
        "[(64, 64)], [], [(256, 256)], [(512, 512)]",
        WHOLE_R18.replace("64", "sixty", 1),
        WHOLE_R18.replace("64", "6.4", 1),
        WHOLE_R18.replace("64", "-64", 1),
        WHOLE_R18.replace("64", "0", 1),
        WHOLE_R18.replace("(64, 64)", "(64)", 1),
        WHOLE_R18.replace("(64, 64)", "(64, 64, 64, 64)", 1),
        WHOLE_R18.replace(")", "", 1),
    ],
)
def test_text_that_is_no_encoding_is_the_users_error(text):
    with pytest.raises(InputError):
        arch_from_encoding(text, (512, 512))


@pytest.mark.parametrize("group_widths", [(4, 8, 16), (4, 8, 16, 0), (4, 8, 16, 48), ()])
def test_group_widths_that_do_not_fit_are_the_users_error(group_widths):
    with pytest.raises(InputError):
        arch_from_encoding(TINY_RESNEXT, (512, 512), group_widths)


def test_group_widths_need_four_original_stages_to_tell_apart():
    text = encoding_from_arch(base_arch("x101", (512, 512))).replace(", 2048)", ", 1024)")

    with pytest.raises(InputError, match="one output width for each of four original stages"):
        arch_from_encoding(text, (512, 512), (4, 8, 16, 32))


def test_basic_blocks_cannot_be_grouped():
    with pytest.raises(InputError, match="grouped bottleneck"):
        arch_from_encoding(WHOLE_R18, (512, 512), (4, 8, 16, 32))
