import pytest

from optimizer.arch import base_arch
from optimizer.arch.heads import BOX_HEADS, HEADS, CenterNetHead, FasterRCNNHead, RetinaNetHead, make_head
from optimizer.errors import InputError


@pytest.mark.parametrize("kind", ["faster_rcnn", "retinanet"])
@pytest.mark.parametrize(("size", "scale"), [((600, 800), 8), ((1333, 599), 4)])
def test_anchors_are_half_as_large_on_a_small_canvas(kind, size, scale):
    assert HEADS[kind].for_canvas(size).anchor_scale == scale


def test_a_faster_rcnn_names_the_widths_that_may_be_pruned():
    head = FasterRCNNHead(rpn_width=24, box_width=48)

    assert head.widths == {"RPN": 24, "box head": 48}
    assert head.with_width("box head", 32) == FasterRCNNHead(rpn_width=24, box_width=32)


def test_a_retinanet_has_no_width_of_its_own_and_no_region_proposals():
    head = RetinaNetHead()

    assert head.widths == {} and head.region_proposals is None and head.propose(100) == head


def test_a_centernet_has_neither_anchors_nor_regions():
    head = CenterNetHead.for_canvas((320, 240))

    assert head == CenterNetHead(64) and head.region_proposals is None and head.region_anchor_scale is None
    assert head.readable == {"body", "neck"} and head.neck == "deconv"


def test_regions_are_boxes_in_a_faster_rcnn_and_anchors_in_a_retinanet():
    assert FasterRCNNHead().region_anchor_scale is None
    assert RetinaNetHead(anchor_scale=4).region_anchor_scale == 4


@pytest.mark.parametrize("depth", range(5))
def test_a_tower_is_a_chain_of_channel_sets_from_the_neck_to_its_last_layer(depth):
    head = RetinaNetHead(tower_depth=depth)
    sets = head.channel_sets(16)

    assert len(sets) == 2 * depth and all(channels.width == 16 for channels in sets)
    readers = {reader.name for layers in (head.name_readers(), *(each.readers for each in sets)) for reader in layers}
    assert {"head.classification_head.cls_logits", "head.regression_head.bbox_reg"} <= readers


@pytest.mark.parametrize("name", [*HEADS, "faster_rcnn conv4fc1"])
def test_a_head_is_made_from_its_name(name):
    head = make_head(name, (320, 240))

    value = head.to_json()
    assert head.name == name and HEADS[value.pop("kind")].from_json(value) == head


def test_the_usual_box_head_is_not_in_the_json_so_that_ids_stay():
    usual, other = (make_head(name, (320, 240)) for name in ("faster_rcnn", "faster_rcnn conv4fc1"))

    assert "box_head" not in usual.to_json() and other.to_json()["box_head"] == "conv4fc1"
    assert base_arch("r18", (320, 240)).arch_id == "5c4fc4806d09"
    assert base_arch("shufflenetv2_20", (320, 240)).arch_id == "28c7d5cc6c18"
    assert base_arch("r18", (320, 240), "faster_rcnn conv4fc1").arch_id != base_arch("r18", (320, 240)).arch_id


def test_a_head_without_such_layers_or_of_unknown_layers_is_refused():
    with pytest.raises(InputError, match="a retinanet has no box head to choose: leave conv4fc1 out"):
        make_head("retinanet conv4fc1", (320, 240))
    with pytest.raises(InputError, match="no box head 'fc3'; choose fc2 or conv4fc1"):
        FasterRCNNHead(box_head="fc3")


@pytest.mark.parametrize("box_head", BOX_HEADS)
def test_the_box_head_is_a_chain_of_channel_sets_from_the_neck_to_the_predictors(box_head):
    head = FasterRCNNHead(box_width=48, box_head=box_head)
    rpn, *chain = head.channel_sets(16)
    links = [head.name_readers()[1], *(writer for channels in chain for writer in channels.writers)]

    assert rpn.width == 256 and [channels.width for channels in chain] == [16] * BOX_HEADS[box_head] + [48] * (
        len(chain) - BOX_HEADS[box_head]
    )
    assert links[0] == links[1] and [channels.readers for channels in chain[:-1]] == [(link,) for link in links[2:]]


@pytest.mark.parametrize(
    ("head", "wrong"),
    [
        (FasterRCNNHead, {"rpn_width": 0}),
        (FasterRCNNHead, {"region_proposals": 0}),
        (FasterRCNNHead, {"anchor_scale": 0}),
        (RetinaNetHead, {"tower_depth": 5}),
        (RetinaNetHead, {"anchor_scale": -4}),
        (CenterNetHead, {"width": 0}),
    ],
)
def test_an_impossible_head_is_the_users_error(head, wrong):
    with pytest.raises(InputError):
        head(**wrong)
