import pytest

from optimizer.arch.maps import FeatureMap


@pytest.mark.parametrize("side", range(1, 70))
def test_a_stride_of_2_with_same_padding_rounds_up(side):
    halved = FeatureMap.of_canvas((side, 64)).halve()

    assert halved == FeatureMap(width=3, stride=2, rows=32, columns=(side + 2 * 1 - 3) // 2 + 1)  # 3x3, padding 1


def test_another_number_of_channels_has_the_same_cells():
    canvas = FeatureMap.of_canvas((80, 60))

    assert (canvas.rows, canvas.columns, canvas.cells) == (60, 80, 4800)
    assert canvas.widen(64) == FeatureMap(width=64, stride=1, rows=60, columns=80)
