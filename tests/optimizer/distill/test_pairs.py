"""Which teachers may teach which students, and what a `DistillConfig` accepts."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from optimizer.arch import (
    ArchSpec,
    BlockSpec,
    FasterRCNNHead,
    FpnSpec,
    PruneFPN,
    ResNetSpec,
    RetinaNetHead,
    StageSpec,
    uniform_importance,
)
from optimizer.arch.families import base_arch
from optimizer.detectors import Truth, build_detector
from optimizer.distill.config import DistillConfig
from optimizer.distill.step import DistillStep, check_pair, show_canvas
from optimizer.errors import InputError

OWN, SAME = DistillConfig(teacher_canvas="own"), DistillConfig(teacher_canvas="student")
TWO_STAGES = base_arch("r18", (512, 512))
ONE_STAGE = base_arch("r18", (512, 512), detector="retinanet")


@pytest.mark.parametrize(("student", "teacher"), [(TWO_STAGES, ONE_STAGE), (ONE_STAGE, TWO_STAGES)])
def test_another_kind_of_detector_is_refused(student: ArchSpec, teacher: ArchSpec) -> None:
    with pytest.raises(InputError, match=f"a {teacher.head.kind} cannot teach a {student.head.kind}"):
        check_pair(student, teacher, SAME)
    with pytest.raises(InputError, match="cannot teach"):
        DistillStep(student, build_detector(teacher, 3), SAME)


def test_a_retinanet_of_another_canvas_is_refused_with_the_way_out() -> None:
    teacher = ONE_STAGE.with_size(800, 512)
    with pytest.raises(InputError, match=r"student 512x512, teacher 800x512; choose one canvas \(--sizes\)"):
        check_pair(ONE_STAGE, teacher, OWN)
    check_pair(ONE_STAGE, teacher, SAME)
    check_pair(ONE_STAGE, ONE_STAGE, OWN)


@pytest.mark.parametrize("config", [OWN, SAME])
def test_a_retinanet_of_other_anchors_is_refused(config: DistillConfig) -> None:
    with pytest.raises(InputError, match=r"those of the teacher \(scale 8\) are not the student's \(scale 4\)"):
        check_pair(ONE_STAGE, replace(ONE_STAGE, head=replace(ONE_STAGE.head, anchor_scale=8)), config)


def test_a_faster_rcnn_may_have_another_canvas_and_other_anchors() -> None:
    check_pair(TWO_STAGES, replace(TWO_STAGES.with_size(1333, 800), head=replace(TWO_STAGES.head, anchor_scale=8)), OWN)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("classification", -0.5), ("localization", -2), ("temperature", 0), ("temperature", -1),
        ("feature_regions", -1), ("feature_regions", 1.5), ("teacher_canvas", "larger"), ("mask", 1.0),
        ("weights", {"feature": -1}),
    ],
)  # fmt: skip
def test_a_config_refuses_what_makes_no_sense(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        DistillConfig.model_validate({name: value})


def test_a_config_survives_json_and_cannot_be_changed() -> None:
    config = DistillConfig(weights={"feature": 0.5}, temperature=2.0, class_aware=False, feature_regions=64)
    assert DistillConfig.model_validate(json.loads(config.model_dump_json())) == config
    with pytest.raises(ValidationError):
        config.temperature = 1.0  # type: ignore[misc]


def test_the_papers_terms_have_equal_weights() -> None:
    config = DistillConfig()
    assert config.weights == {"feature": 1, "classification": 1, "localization": 1} and config.temperature == 1
    assert config.class_aware


def small(kind: str) -> ArchSpec:
    stages = tuple(StageSpec((BlockSpec((8, 8), 1 if n == 0 else 2, projection=True),)) for n in range(4))
    heads = {"faster_rcnn": FasterRCNNHead(16, 24, 20, anchor_scale=4), "retinanet": RetinaNetHead(1, anchor_scale=4)}
    return ArchSpec((64, 64), ResNetSpec(stages, stem_width=8), FpnSpec(32), heads[kind])


@pytest.mark.parametrize("kind", ["faster_rcnn", "retinanet"])
def test_a_student_with_a_pruned_pyramid_gets_an_adapter_to_the_teachers_width(kind: str) -> None:
    pruned = PruneFPN(0.25, 8, 8).apply(small(kind), uniform_importance(small(kind))).child
    assert pruned.neck.width == 24
    student, teacher = build_detector(pruned, 2, seed=1).train(), build_detector(small(kind), 2, seed=2)
    step = DistillStep(pruned, teacher, SAME)
    adapter = step.distillers["feature"].adapter
    assert (adapter.in_channels, adapter.out_channels) == (24, 32)
    losses = step(student, torch.randn(1, 3, 64, 64), [Truth(torch.tensor([[4.0, 4, 40, 40]]), torch.tensor([1]))])
    losses["distill_feature"].backward()
    assert adapter.weight.grad.abs().sum() > 0


def test_images_are_shown_at_another_size_only_where_it_is_another() -> None:
    images = torch.full((1, 3, 64, 96), 0.5)
    assert show_canvas(images, (96, 64)) is images
    torch.testing.assert_close(show_canvas(images, (144, 96)), torch.full((1, 3, 96, 144), 0.5))


@pytest.mark.parametrize(
    ("size", "canvas", "filled"),
    [
        ((96, 64), (192, 160), (192, 128)),  # wider than the teacher's: padded below
        ((64, 64), (192, 128), (128, 128)),  # padded on the right
        ((96, 64), (192, 128), (192, 128)),  # of one shape: nothing is padded
        ((192, 128), (64, 64), (64, 43)),  # a smaller one
        ((100, 75), (133, 100), (133, 100)),
    ],
)
def test_a_canvas_is_scaled_as_a_whole_and_padded_right_and_below(
    size: tuple[int, int], canvas: tuple[int, int], filled: tuple[int, int]
) -> None:
    shown = show_canvas(torch.ones(2, 3, size[1], size[0]), canvas)
    assert shown.shape == (2, 3, canvas[1], canvas[0])
    expected = torch.zeros_like(shown)
    expected[:, :, : filled[1], : filled[0]] = 1
    torch.testing.assert_close(shown, expected)


def test_what_is_shown_larger_stands_at_the_scaled_place() -> None:
    images = torch.zeros(1, 3, 64, 96)
    images[:, :, 16:48, 24:72] = 1
    shown = show_canvas(images, (192, 160))  # twice as large
    assert bool((shown[:, :, 36:92, 52:140] > 0.99).all())
    outside = shown.clone()
    outside[:, :, 28:100, 44:148] = 0
    assert outside.abs().max() < 0.01


@pytest.mark.parametrize(("config", "canvas"), [(OWN, (96, 64)), (SAME, None)])
def test_a_step_knows_the_canvas_its_teacher_looks_at(config: DistillConfig, canvas: tuple[int, int] | None) -> None:
    teacher = small("faster_rcnn").with_size(96, 64)
    assert DistillStep(small("faster_rcnn"), build_detector(teacher, 2), config).canvas == canvas


def test_an_unknown_distiller_is_refused_with_a_list() -> None:
    arch = small("faster_rcnn")
    with pytest.raises(InputError, match="no distiller 'relation'; there are: feature, classification, localization"):
        check_pair(arch, arch, DistillConfig(weights={"relation": 1.0}))
