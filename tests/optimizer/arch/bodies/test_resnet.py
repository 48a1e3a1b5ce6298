import pytest

from optimizer.arch.bodies import BlockSpec
from optimizer.arch.bodies.resnet import make_resnet
from optimizer.arch.families import FAMILIES


def test_a_table_is_laid_out_with_strides_and_projections_where_they_are_needed():
    body = make_resnet((2, 1, 1, 1), ((64, 64), (96, 96), (96, 96), (128, 128)))

    assert [(block.stride, block.projection) for _, _, block in body.blocks()] == [
        (1, False), (1, False), (2, True), (2, True), (2, True)
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "strides"), [(name, (4, 8, 16, 32)) for name in FAMILIES])
def test_each_stage_puts_out_a_map(name, strides):
    maps = FAMILIES[name].maps((130, 97))

    assert tuple(level.stride for level in maps) == strides
    assert [(level.columns, level.rows) for level in maps] == [(33, 25), (17, 13), (9, 7), (5, 4)]


def test_a_block_that_comes_to_have_a_stride_gets_a_projection_and_keeps_it():
    block = BlockSpec((8, 8))

    assert block.move(2) == BlockSpec((8, 8), stride=2, projection=True)
    assert block.move(2).move(1) == BlockSpec((8, 8), stride=1, projection=True)
    assert block.move(1) == block


def test_a_block_grows_as_an_identity():
    assert BlockSpec((8, 16, 32), stride=2, projection=True).grow() == BlockSpec((8, 16, 32))


def test_a_body_is_stretched_stage_by_stage():
    body = FAMILIES["r18"].stretch((1, 2, 3, 1), (1.0, 0.5, 1.5, 2.0))

    assert body.depths == (1, 2, 3, 1)
    assert [stage.blocks[-1].widths for stage in body.stages] == [(64, 64), (64, 64), (384, 384), (1024, 1024)]
    assert all(stage.blocks[0].projection for stage in body.stages) and body.stem_width == 64


def test_a_resnext_is_not_sliced():
    assert not FAMILIES["x101"].sliceable and all(FAMILIES[name].sliceable for name in ("r18", "r50", "r101"))
