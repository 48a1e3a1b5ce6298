import pytest

from optimizer.arch import base_arch
from optimizer.arch.heads import Levels
from optimizer.arch.necks import FpnSpec
from optimizer.errors import InputError

BODY_MAPS = base_arch("r18", (320, 240)).body_maps  # strides 4, 8, 16, 32


@pytest.mark.parametrize(
    ("levels", "read"),
    [
        (Levels((4, 8, 16, 32, 64)), [0, 1, 2, 3]),
        (Levels((8, 16, 32, 64, 128), "conv"), [1, 2, 3]),
        (Levels((16, 32)), [2, 3]),
        (Levels((32,)), [3]),
    ],
)
def test_it_reads_the_body_from_the_heads_finest_stride_on(levels, read):
    fpn = FpnSpec(16)

    assert [*fpn.name_readers(BODY_MAPS, levels)] == read
    assert tuple(level.stride for level in fpn.maps(BODY_MAPS, levels)) == levels.strides
    assert {level.width for level in fpn.maps(BODY_MAPS, levels)} == {16}


def test_coarser_levels_cost_nothing_by_pooling_and_a_convolution_each_otherwise():
    fpn = FpnSpec(16)
    plain, pooled = (fpn.count(BODY_MAPS, Levels(strides)) for strides in ((8, 16, 32), (8, 16, 32, 64, 128)))
    convolved = fpn.count(BODY_MAPS, Levels((8, 16, 32, 64, 128), "conv"))
    cells = [level.cells for level in fpn.maps(BODY_MAPS, Levels((8, 16, 32, 64, 128)))[3:]]

    assert pooled == plain
    assert convolved.params - plain.params == 2 * (16 * 16 * 9 + 16)
    assert convolved.macs - plain.macs == 16 * 16 * 9 * sum(cells)


@pytest.mark.parametrize("strides", [(2, 4, 8), (4, 16, 32), (64, 128), (8, 16)])
def test_levels_that_the_body_does_not_lead_to_are_refused(strides):
    with pytest.raises(InputError, match=r"no pyramid joins them"):
        FpnSpec(16).maps(BODY_MAPS, Levels(strides))


def test_a_width_is_positive():
    with pytest.raises(InputError, match="positive"):
        FpnSpec(0)
