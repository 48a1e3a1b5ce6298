from dataclasses import replace

import pytest

from optimizer.arch import CenterNetHead, FasterRCNNHead, FpnSpec, base_arch, count, count_parts
from optimizer.arch.heads import Levels
from optimizer.arch.maps import FeatureMap
from optimizer.arch.necks import DeconvSpec
from optimizer.errors import InputError

BODY_MAPS = base_arch("r18", (320, 240)).body_maps  # strides 4, 8, 16, 32
FOUR = Levels((4,))


def test_it_makes_one_map_eight_times_as_fine_as_the_last():
    assert DeconvSpec(8, 16, 24).maps(BODY_MAPS, FOUR) == (FeatureMap(24, 4, 64, 80),)
    assert [*DeconvSpec().name_readers(BODY_MAPS, FOUR)] == [3]


@pytest.mark.parametrize("levels", [Levels((8,)), Levels((4, 8)), FasterRCNNHead().levels])
def test_other_levels_are_refused(levels):
    with pytest.raises(InputError, match="make one of stride 4"):
        DeconvSpec().maps(BODY_MAPS, levels)


def test_a_pyramid_and_a_centernet_are_refused():
    with pytest.raises(InputError, match="no pyramid joins them"):
        replace(base_arch("r18", (320, 240), "centernet"), neck=FpnSpec())


def test_a_kernel_is_multiplied_with_every_cell_that_is_read():
    last = FeatureMap(5, 32, 2, 3)
    cost = DeconvSpec(7, 11, 13).count([last], FOUR)
    assert cost.macs == 16 * (5 * 7 * 6 + 7 * 11 * 24 + 11 * 13 * 96)
    assert cost.params == 16 * (5 * 7 + 7 * 11 + 11 * 13) + 2 * (7 + 11 + 13)


@pytest.mark.parametrize("base", ["r18", "r50", "shufflenetv2_20"])
def test_the_head_says_which_neck_it_wants(base):
    arch = base_arch(base, (512, 384), "centernet")
    assert arch.neck == DeconvSpec(256, 256, 256) and arch.head == CenterNetHead(64)
    assert [*count_parts(arch)] == ["backbone", "neck", "head"] and count(arch).macs > 0


@pytest.mark.parametrize(
    ("body", "last", "size", "classes", "billions"),
    [
        (7.4916, 2048, 512, 80, 53.98),
        (0.9622, 1328, 512, 80, 19.12),
        (7.4916, 2048, 512, 20, 53.92),
        (0.9622, 1328, 512, 20, 19.05),
        (7.4916, 2048, 384, 20, 30.33),
        (0.9622, 1328, 384, 20, 10.72),
    ],
)
def test_neck_and_head_cost_what_they_do_in_detofa(body, last, size, classes, billions):
    """FACTS 2.3: whole detectors with the largest and the smallest body of OFA-ResNet50, whose own cost is at 224."""
    maps = (FeatureMap(last, 32, size // 32, size // 32),)
    of_body = (body * 1e9 - last * 1000) * (size / 224) ** 2
    head = CenterNetHead().count_parts(DeconvSpec().maps(maps, FOUR), classes)["head"]
    total = of_body + DeconvSpec().count(maps, FOUR).macs + head.macs
    assert total / 1e9 == pytest.approx(billions, abs=0.0051)


def test_a_width_is_positive():
    with pytest.raises(InputError, match="positive"):
        DeconvSpec(256, 0)
