import pytest

from optimizer.arch import ArchSpec, RetinaNetHead, base_arch
from optimizer.errors import InputError


@pytest.mark.parametrize(
    ("name", "depths", "out_widths"),
    [
        ("r18", (2, 2, 2, 2), [64, 128, 256, 512]),
        ("r50", (3, 4, 6, 3), [256, 512, 1024, 2048]),
        ("r101", (3, 4, 23, 3), [256, 512, 1024, 2048]),
        ("x101", (3, 4, 23, 3), [256, 512, 1024, 2048]),
    ],
)
def test_a_base_has_its_papers_depths_and_widths(name, depths, out_widths):
    arch = base_arch(name, (1333, 800))

    assert arch.body.depths == depths
    assert [stage.out_width for stage in arch.body.stages] == out_widths


def test_only_blocks_that_change_width_or_stride_are_projected():
    projected = {
        name: [(stage, block) for stage, block, spec in base_arch(name, (512, 512)).body.blocks() if spec.projection]
        for name in ("r18", "r50", "r101", "x101")
    }

    assert projected.pop("r18") == [(1, 0), (2, 0), (3, 0)]
    assert set(map(tuple, projected.values())) == {((0, 0), (1, 0), (2, 0), (3, 0))}


def test_resnext_has_32_groups_in_every_block():
    assert {block.groups for _, _, block in base_arch("x101", (512, 512)).body.blocks()} == {32}


def test_neck_and_head_are_the_papers():
    arch = base_arch("r50", (1333, 800))

    assert (arch.neck.width, arch.head.rpn_width, arch.head.box_width, arch.head.region_proposals) == (
        256,
        256,
        1024,
        1000,
    )


@pytest.mark.parametrize(("size", "scale"), [((800, 600), 8), ((600, 800), 8), ((800, 599), 4), ((320, 240), 4)])
def test_small_canvases_get_small_anchors(size, scale):
    assert base_arch("r18", size).head.anchor_scale == scale


def test_region_proposals_are_free():
    assert base_arch("r18", (320, 240), region_proposals=300).head.region_proposals == 300


def test_a_base_can_be_a_retinanet():
    assert base_arch("r50", (512, 512), detector="retinanet").head == RetinaNetHead(anchor_scale=4)


def test_an_unknown_base_is_refused_with_the_names_there_are():
    with pytest.raises(InputError, match="r18, r50, r101, x101"):
        base_arch("r34", (512, 512))


def test_an_unknown_detector_is_refused_with_the_names_there_are():
    with pytest.raises(InputError, match="faster_rcnn or retinanet"):
        base_arch("r18", (512, 512), detector="yolo")


def test_a_retinanet_takes_no_region_proposals():
    with pytest.raises(InputError, match="no region proposals"):
        base_arch("r18", (512, 512), detector="retinanet", region_proposals=300)


@pytest.mark.parametrize("count", [0, -1])
def test_a_head_needs_a_region_proposal(count):
    with pytest.raises(InputError):
        base_arch("r18", (512, 512), region_proposals=count)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("shufflenetv2_20:2120 2112 33130031 3132", "2120 2112 33130031 3132"),
        ("shufflenetv2_40:" + "01" * 20, "01010101 01010101 0101010101010101 01010101"),
        ("shufflenetv2_20:" + "0" * 20, base_arch("shufflenetv2_20", (224, 224)).body.encode()),
    ],
)
def test_a_path_of_a_space_is_a_base(name, encoding):
    arch = base_arch(name, (320, 240), "retinanet")

    assert arch.body.encode() == encoding and isinstance(arch.head, RetinaNetHead)
    assert ArchSpec.from_json(arch.to_json()) == arch


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("shufflenetv2_20:2120", "4 places fits no space asked for"),
        ("shufflenetv2_20:" + "4" * 20, "a digit from 0 to 3"),
        ("r18:0123", "no base 'r18:0123'"),
        ("shufflenetv2_20:", "a digit from 0 to 3"),
    ],
)
def test_what_is_no_path_is_no_base(name, words):
    with pytest.raises(InputError, match=words):
        base_arch(name, (320, 240))
