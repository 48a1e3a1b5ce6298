"""What every detector of the catalogue must do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from narrow import narrow_path
from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2

from deploy.export import OnnxGraphOps
from optimizer.arch import (
    ArchSpec,
    BlockSpec,
    CenterNetHead,
    DeconvSpec,
    FasterRCNNHead,
    FpnSpec,
    ResNetSpec,
    RetinaNetHead,
    StageSpec,
)
from optimizer.arch.bodies.shufflenet import SHUFFLES
from optimizer.arch.macs import count
from optimizer.detectors import DETECTORS, Detector, Truth, build_detector

HEADS = {
    "faster_rcnn": FasterRCNNHead(rpn_width=24, box_width=32, region_proposals=40, anchor_scale=4),
    "retinanet": RetinaNetHead(anchor_scale=4),
    "centernet": CenterNetHead(width=24),
}
NECKS = {"fpn": FpnSpec(16), "deconv": DeconvSpec(16, 24, 20)}
WIDTH, HEIGHT, CLASSES = 128, 96, 3
NO_OBJECTS = Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


def make_arch(kind: str) -> ArchSpec:
    stages = (
        StageSpec((BlockSpec((12, 16)),)),
        StageSpec((BlockSpec((16, 24), stride=2, projection=True), BlockSpec((20, 24)))),
        StageSpec((BlockSpec((8, 12, 32), stride=2, projection=True),)),
        StageSpec((BlockSpec((16, 16, 48), stride=2, projection=True, group_width=4),)),
    )
    return ArchSpec((WIDTH, HEIGHT), ResNetSpec(stages, stem_width=16), NECKS[HEADS[kind].neck], HEADS[kind])


ARCHS = {kind: make_arch(kind) for kind in sorted(DETECTORS)}
ARCHS["conv4fc1"] = replace(ARCHS["faster_rcnn"], head=HEADS["faster_rcnn"].choose_box_head("conv4fc1"))
ARCHS |= {
    f"shufflenet-{shuffle}-{kind}": narrow_path((WIDTH, HEIGHT), kind, shuffle)
    for kind in ("faster_rcnn", "retinanet")
    for shuffle in SHUFFLES
}


@pytest.fixture(params=ARCHS)
def detector(request: pytest.FixtureRequest) -> Detector:
    return build_detector(ARCHS[request.param], CLASSES, seed=3)


def make_images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def one_object(*box: float) -> Truth:
    return Truth(torch.tensor([box], dtype=torch.float32), torch.tensor([CLASSES - 1]))


@pytest.mark.parametrize(
    "truth",
    [
        NO_OBJECTS,
        one_object(30, 20, 80, 70),
        one_object(0, 0, 20, 30),
        one_object(WIDTH - 30.0, HEIGHT - 20.0, WIDTH, HEIGHT),
        one_object(0, 0, WIDTH, HEIGHT),
        one_object(50, 40, 51, 41),
    ],
    ids=["none", "one", "corner", "far corner", "whole canvas", "one pixel"],
)
def test_losses_are_finite_and_reach_the_stem(detector: Detector, truth: Truth) -> None:
    losses = detector.train().losses(make_images(2), [truth, NO_OBJECTS])
    total = torch.stack(list(losses.values())).sum()
    assert total.ndim == 0 and torch.isfinite(total)
    total.backward()
    gradient = next(detector.backbone.body.parameters()).grad
    assert gradient is not None and torch.isfinite(gradient).all() and gradient.abs().sum() > 0


def test_an_image_without_objects_has_no_box_loss(detector: Detector) -> None:
    losses = detector.train().losses(make_images(1), [NO_OBJECTS])
    boxes = [value for name, value in losses.items() if "box" in name]
    assert boxes and all(value.item() == 0 for value in boxes)


def test_truths_are_left_as_they_were(detector: Detector) -> None:
    truth = one_object(30, 20, 80, 70)
    detector.train().losses(make_images(1), [truth])
    assert truth.boxes_xyxy.tolist() == [[30, 20, 80, 70]] and truth.labels.tolist() == [CLASSES - 1]


def sharpen(detector: Detector) -> None:
    """Spread an untrained detector's scores, so that there is something to select."""
    generator = torch.Generator().manual_seed(7)
    for name, parameter in detector.named_parameters():
        if name.startswith("backbone.deconv.") and "conv" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
        elif ("cls" in name or name.startswith("head.heatmap.2")) and name.endswith("weight"):
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.6
        elif "cls_logits" in name and "head.classification" in name:
            parameter.data.zero_()  # RetinaNet's bias that makes everything background at first


def test_detections_are_sorted_and_on_the_canvas(detector: Detector) -> None:
    sharpen(detector)
    for found in detector.detect(make_images(2)):
        assert 0 < len(found.scores) <= 100
        assert (found.scores[:-1] >= found.scores[1:]).all() and found.scores.min() > 0.05
        assert found.labels.min() >= 0 and found.labels.max() < CLASSES
        x1, y1, x2, y2 = found.boxes_xyxy.unbind(1)
        assert (x1 >= 0).all() and (y1 >= 0).all() and (x2 <= WIDTH).all() and (y2 <= HEIGHT).all()
        assert (x2 >= x1).all() and (y2 >= y1).all()


def test_the_graph_for_export_detects_the_same(detector: Detector) -> None:
    sharpen(detector)
    images = make_images(1)
    expected = detector.detect(images)[0]
    with torch.no_grad():
        boxes, scores, labels, number = detector.raw(images, OnnxGraphOps())
    count_found = int(number)
    assert count_found == len(expected.scores)
    assert torch.allclose(scores[:count_found], expected.scores, atol=1e-5)
    # equal scores may change places: compare as sets of rounded rows
    rows = {(*box, label) for box, label in zip(boxes[:count_found].round().tolist(), labels[:count_found].tolist())}
    wanted = {(*box, label) for box, label in zip(expected.boxes_xyxy.round().tolist(), expected.labels.tolist())}
    assert len(rows & wanted) >= 0.98 * len(wanted)
    assert not scores[count_found:].any()


def test_equal_seeds_give_equal_weights_and_leave_the_global_generator_alone(detector: Detector) -> None:
    before = torch.get_rng_state()
    again = build_detector(detector.arch, CLASSES, seed=3)
    other = build_detector(detector.arch, CLASSES, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    ours, theirs, others = (next(d.backbone.body.parameters()) for d in (detector, again, other))
    assert torch.equal(ours, theirs) and not torch.equal(ours, others)


def test_parameters_are_those_that_arithmetic_says(detector: Detector) -> None:
    assert sum(parameter.numel() for parameter in detector.parameters()) == count(detector.arch, CLASSES).params


def test_the_convolutions_of_a_box_head_are_named_as_torchvision_names_them() -> None:
    with torch.device("meta"):
        theirs = fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None).roi_heads.box_head.state_dict()
    ours = build_detector(ARCHS["conv4fc1"], CLASSES).roi_heads.box_head.state_dict()
    assert [(name, value.ndim) for name, value in ours.items()] == [
        (name, value.ndim) for name, value in theirs.items()
    ]
