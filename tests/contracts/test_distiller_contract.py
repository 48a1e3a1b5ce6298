"""What every distiller must do, in a step with a student and a teacher of either kind of detector."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from narrow import narrow_path
from torch import Tensor
from torchvision.ops import roi_align

from optimizer.arch import (
    ArchSpec,
    BlockSpec,
    CenterNetHead,
    DeconvSpec,
    FasterRCNNHead,
    FpnSpec,
    Neck,
    ResNetSpec,
    RetinaNetHead,
    StageSpec,
)  # fmt: skip
from optimizer.detectors import DETECTORS, Detector, Truth, build_detector
from optimizer.distill.catalogue import DISTILLERS
from optimizer.distill.config import DefeatConfig, DistillConfig
from optimizer.distill.step import DistillStep, build_distillers, check_pair, show_canvas
from optimizer.errors import InputError

HEADS = {
    "faster_rcnn": FasterRCNNHead(rpn_width=16, box_width=24, region_proposals=20, anchor_scale=4),
    "retinanet": RetinaNetHead(tower_depth=1, anchor_scale=4),
    "centernet": CenterNetHead(width=16),
}
WIDTH, HEIGHT, CLASSES = 96, 64, 3
ALL = DistillConfig(teacher_canvas="student")
ALONE = {
    "feature": ALL.model_copy(update={"weights": {"feature": 1.0}}),
    "few features": ALL.model_copy(update={"weights": {"feature": 1.0}, "feature_regions": 5}),
    "classification": ALL.model_copy(update={"weights": {"classification": 1.0}}),
    "soft classification": ALL.model_copy(update={"weights": {"classification": 1.0}, "temperature": 3.0}),
    "localization": ALL.model_copy(update={"weights": {"localization": 1.0}}),
    "plain localization": ALL.model_copy(update={"weights": {"localization": 1.0}, "class_aware": False}),
}
OF_REGIONS = set(ALL.weights)
ALONE |= {name: ALL.model_copy(update={"weights": {name: 1.0}}) for name in DISTILLERS if name not in OF_REGIONS}
ALONE["cool defeat_classes"] = DistillConfig(
    weights={"defeat_classes": 1.0}, teacher_canvas="student", defeat=DefeatConfig(temperatures=(2.0, 0.5))
)
TOGETHER = ALL.model_copy(update={"weights": dict.fromkeys(DISTILLERS, 1.0)})
KINDS = sorted(DETECTORS)
WITH_REGIONS = [kind for kind in KINDS if {"regions", "sample", "anchors"} <= HEADS[kind].readable]
NO_OBJECTS = Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
TWO_OBJECTS = Truth(torch.tensor([[8.0, 8, 40, 40], [50, 10, 90, 60]]), torch.tensor([0, CLASSES - 1]))
OBJECTS = {
    "some": [TWO_OBJECTS, TWO_OBJECTS],
    "none in one image": [TWO_OBJECTS, NO_OBJECTS],
    "none at all": [NO_OBJECTS, NO_OBJECTS],
}


def make_arch(kind: str, width: int = 8, fpn_width: int = 16, size: tuple[int, int] = (WIDTH, HEIGHT)) -> ArchSpec:
    stages = tuple(
        StageSpec((BlockSpec((width * 2**stage,) * 2, stride=1 if stage == 0 else 2, projection=True),))
        for stage in range(4)
    )
    necks: dict[str, Neck] = {"fpn": FpnSpec(fpn_width), "deconv": DeconvSpec(8, 8, fpn_width)}
    return ArchSpec(size, ResNetSpec(stages, stem_width=8), necks[HEADS[kind].neck], HEADS[kind])


def make_detector(arch: ArchSpec, seed: int) -> Detector:
    """With heads that say something: untrained ones are all but silent."""
    detector = build_detector(arch, CLASSES, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in detector.named_parameters():
        if name.startswith("backbone.deconv.") and "conv" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
        elif any(part in name for part in ("cls_score", "bbox_pred", "cls_logits", "bbox_reg", "head.heatmap.2")):
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return detector


class Pair(NamedTuple):
    student: Detector
    teacher: Detector
    step: DistillStep


def make_pair(kind: str, config: DistillConfig, teacher: ArchSpec | None = None) -> Pair:
    arch = make_arch(kind)
    other = make_detector(teacher or make_arch(kind, width=12, fpn_width=24), seed=2)
    return Pair(make_detector(arch, seed=1), other, DistillStep(arch, other, config))


def distilled(losses: dict[str, Tensor]) -> Tensor:
    """The sum of what the distillers add."""
    added = [value for name, value in losses.items() if name.startswith("distill_")]
    assert all(value.ndim == 0 for value in added)
    return torch.stack(added).sum()


def pass_on(step: DistillStep) -> None:
    """Adapters that change nothing; the body's maps are not negative, so that its ReLU does not either."""
    for adapters in step.adapters.values():
        for adapter in adapters:
            torch.nn.init.dirac_(adapter.weight)
            torch.nn.init.zeros_(adapter.bias)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def list_readable(kind: str) -> list[str]:
    """The distillers that read nothing that a head of this kind has not."""
    arch = make_arch(kind)
    made = build_distillers(arch, arch, TOGETHER)
    return [name for name in made if {made[name].reads, *made[name].asks} <= HEADS[kind].readable]


CASES = [
    (kind, name) for kind in KINDS for name, config in ALONE.items() if {*config.weights} <= {*list_readable(kind)}
]


@pytest.fixture(params=WITH_REGIONS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[str, DistillConfig]:
    """Each kind of detector with each distiller that can read it, alone."""
    kind, name = request.param
    return kind, ALONE[name]


@pytest.fixture(params=[name for name, config in ALONE.items() if set(config.weights) <= OF_REGIONS])
def of_regions(request: pytest.FixtureRequest) -> DistillConfig:
    """Each distiller of regions alone."""
    return ALONE[request.param]


def test_all_of_the_catalogue_is_here() -> None:
    arch = make_arch("faster_rcnn")
    alone = {name for config in ALONE.values() for name in build_distillers(arch, arch, config)}
    assert alone == set(build_distillers(arch, arch, TOGETHER)) == set(DISTILLERS)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WITH_REGIONS])
def test_what_reads_regions_of_a_head_that_has_none_is_refused_and_the_rest_is_not(kind: str) -> None:
    arch = make_arch(kind)
    assert {"whole_feature", "gaussian_mask", "defeat", "defeat_body"} == {*list_readable(kind)}
    for name in {*DISTILLERS} - {*list_readable(kind)}:
        with pytest.raises(InputError, match=f"the distiller {name} reads .*, and a {kind} has none"):
            check_pair(arch, arch, ALL.model_copy(update={"weights": {name: 1.0}}))


@pytest.mark.parametrize(("kind", "shuffle"), [("faster_rcnn", "split"), ("retinanet", "halves")])
def test_a_shufflenet_is_taught_all_that_its_head_can_read(kind: str, shuffle: str, images: Tensor) -> None:
    arch = narrow_path((WIDTH, HEIGHT), kind, shuffle)
    student, teacher = make_detector(arch, seed=1), make_detector(make_arch(kind, width=12, fpn_width=24), seed=2)
    names = list_readable(kind)
    step = DistillStep(arch, teacher, ALL.model_copy(update={"weights": dict.fromkeys(names, 1.0)}))
    losses = step.train()(student.train(), images, OBJECTS["some"])
    assert all(losses[f"distill_{name}"].item() > 0 for name in names)
    distilled(losses).backward()
    gradient = next(student.backbone.body.parameters()).grad
    assert gradient is not None and gradient.isfinite().all() and gradient.abs().sum() > 0


def test_it_is_zero_when_the_student_equals_the_teacher(case: tuple[str, DistillConfig], images: Tensor) -> None:
    arch = make_arch(case[0])
    student, teacher = make_detector(arch, seed=1), make_detector(arch, seed=1)
    step = DistillStep(arch, teacher, case[1])
    pass_on(step)
    losses = step(student, images, OBJECTS["some"])
    assert distilled(losses).item() == pytest.approx(0, abs=1e-6)


def test_it_is_above_zero_when_they_differ(case: tuple[str, DistillConfig], images: Tensor) -> None:
    student, _, step = make_pair(*case)
    assert distilled(step(student.train(), images, OBJECTS["some"])).item() > 1e-4


def test_the_gradient_reaches_student_and_adapter_and_never_the_teacher(
    case: tuple[str, DistillConfig], images: Tensor
) -> None:
    student, teacher, step = make_pair(*case)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    distilled(step.train()(student.train(), images, OBJECTS["some"])).backward()
    own = list(step.parameters())
    for parameter in (student.backbone.body.conv1.weight, *own):
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all()
    assert student.backbone.body.conv1.weight.grad.abs().sum() > 0
    assert not own or any(parameter.grad.abs().sum() > 0 for parameter in own), "those of levels that are looked at"
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in teacher.parameters())
    assert not any(module.training for module in teacher.modules()), "its BatchNorms learn nothing either"
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())


@pytest.mark.parametrize("objects", OBJECTS)
def test_it_is_finite_whatever_objects_there_are(case: tuple[str, DistillConfig], images: Tensor, objects: str) -> None:
    student, _, step = make_pair(*case)
    losses = step(student.train(), images, OBJECTS[objects])
    own = student.losses(images, OBJECTS[objects])
    assert set(own) < set(losses), "the detector's own losses stay"
    torch.stack(list(losses.values())).sum().backward()
    gradients = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)


def test_it_is_finite_in_half_precision(case: tuple[str, DistillConfig], images: Tensor) -> None:
    student, _, step = make_pair(*case)
    with torch.autocast("cpu", torch.bfloat16):
        losses = step(student.train(), images, OBJECTS["some"])
    loss = distilled(losses)
    loss.backward()
    assert torch.isfinite(loss) and loss.dtype is torch.float32, "regions are compared in single precision"
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)


def test_without_regions_it_is_zero_and_has_a_gradient(kind: str, of_regions: DistillConfig, images: Tensor) -> None:
    student, _, step = make_pair(kind, of_regions)
    none = torch.zeros(0, 4) if kind == "faster_rcnn" else torch.zeros(0, dtype=torch.int64)
    view = student.view(images, [none, none], (WIDTH, HEIGHT))
    assert len(view.features) == len(view.log_probs) == len(view.deltas) == 0
    loss = distilled(step.compare(view, images, [none, none]))
    assert loss.item() == 0
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)


def test_one_image_without_regions_leaves_the_others_alone(
    kind: str, of_regions: DistillConfig, images: Tensor
) -> None:
    student, _, step = make_pair(kind, of_regions)
    _, regions, _ = student.losses_and_regions(images, OBJECTS["some"], with_view=True)
    both = [regions[0], regions[1][:0]]
    of_both = distilled(step.compare(student.view(images, both, (WIDTH, HEIGHT)), images, both))
    alone = distilled(step.compare(student.view(images[:1], both[:1], (WIDTH, HEIGHT)), images[:1], both[:1]))
    assert of_both.item() == pytest.approx(alone.item(), rel=1e-4)


def test_the_teacher_is_looked_at_once_a_step(case: tuple[str, DistillConfig], images: Tensor) -> None:
    looked = []
    kind, config = case
    together = ALL.model_copy(update={"weights": dict.fromkeys(list_readable(kind), 1.0)})
    for settings in (config, together):
        student, teacher, step = make_pair(kind, settings)
        teacher.backbone.register_forward_hook(lambda *_: looked.append(1))
        step(student.train(), images, OBJECTS["some"])
    assert len(looked) == 2


def test_all_together_are_those_that_are_alone(kind: str, images: Tensor) -> None:
    student, _, step = make_pair(kind, TOGETHER)
    together = step(student.eval(), images, OBJECTS["none in one image"])
    for name in set(DISTILLERS) - OF_REGIONS - {"defeat_classes"}:  # whose regions are drawn anew
        student, _, step = make_pair(kind, ALL.model_copy(update={"weights": {name: 1.0}}))
        alone = step(student.eval(), images, OBJECTS["none in one image"])[f"distill_{name}"]
        assert together[f"distill_{name}"].item() == pytest.approx(alone.item(), rel=1e-5), name


def test_weights_decay_as_the_training_goes_on(kind: str, images: Tensor) -> None:
    student, _, step = make_pair(kind, ALL.model_copy(update={"weights": {"whole_feature": 1.0}, "decay": "linear"}))
    found = []
    for done in (0.0, 0.25, 1.0):
        step.set_progress(done)
        found.append(step(student.eval(), images, OBJECTS["some"])["distill_whole_feature"].item())
    assert found == pytest.approx([found[0], 0.75 * found[0], 0.0]) and found[0] > 0


def test_a_weight_multiplies_and_zero_leaves_out(kind: str, images: Tensor) -> None:
    weights = {"feature": 2.0, "classification": 0.0, "localization": 0.5}
    student, teacher, step = make_pair(kind, ALL)
    weighed = DistillStep(student.arch, teacher, ALL.model_copy(update={"weights": weights}))
    _, regions, view = student.losses_and_regions(images, OBJECTS["some"], with_view=True)
    assert view is not None
    one, other = step.compare(view, images, regions), weighed.compare(view, images, regions)
    assert set(one) == {"distill_feature", "distill_classification", "distill_localization"}
    assert set(other) == {"distill_feature", "distill_localization"}
    for name, value in other.items():
        assert value.item() == pytest.approx(weights[name.removeprefix("distill_")] * one[name].item(), rel=1e-5)


def test_adapters_are_trained_and_kept_with_the_step_and_the_teacher_is_not(kind: str) -> None:
    _, teacher, step = make_pair(kind, ALL)
    names = {name for name, _ in step.named_parameters()}
    assert names == {"distillers.feature.adapter.weight", "distillers.feature.adapter.bias"} == set(step.state_dict())
    *_, every = make_pair(kind, TOGETHER)
    others = {name.rsplit(".", 2)[0] for name in every.state_dict()} - {"distillers.feature"}
    assert others == {"adapters.neck", "adapters.body"}, "one set of each for all distillers of maps"
    assert not {id(parameter) for parameter in step.parameters()} & {id(p) for p in teacher.parameters()}
    adapter = step.distillers["feature"].adapter
    assert (adapter.in_channels, adapter.out_channels) == (16, 24), "from the student's pyramid to the teacher's"


def test_a_state_goes_round_whatever_the_teacher(kind: str) -> None:
    _, _, step = make_pair(kind, ALL)
    with torch.no_grad():
        for parameter in step.parameters():
            parameter.add_(1.0)
    _, _, again = make_pair(kind, ALL)
    again.load_state_dict(step.state_dict(), strict=True)
    assert all(torch.equal(one, other) for one, other in zip(step.parameters(), again.parameters()))


@pytest.mark.parametrize(
    ("size", "scale"),
    [((192, 160), 2.0), ((192, 128), 2.0), ((240, 128), 2.0), ((64, 96), 2 / 3), ((128, 128), 4 / 3)],
)
def test_a_teacher_on_another_canvas_sees_the_same_regions_scaled(
    images: Tensor, size: tuple[int, int], scale: float
) -> None:
    """One factor for both sides, whatever the shape of the teacher's canvas: nothing is distorted."""
    other = make_arch("faster_rcnn", width=12, size=size)
    student, teacher, step = make_pair("faster_rcnn", ALL.model_copy(update={"teacher_canvas": "own"}), other)
    seen: dict[str, object] = {}
    teacher.backbone.register_forward_pre_hook(lambda _, inputs: seen.update(shape=tuple(inputs[0].shape)))
    teacher.roi_heads.box_roi_pool.register_forward_pre_hook(
        lambda _, inputs: seen.update(rois=inputs[1], canvases=inputs[2])
    )
    _, regions, view = student.losses_and_regions(images, OBJECTS["some"], with_view=True)
    assert view is not None
    assert torch.isfinite(distilled(step.compare(view, images, regions)))
    assert seen["shape"] == (2, 3, size[1], size[0]) and seen["canvases"] == [(size[1], size[0])] * 2
    for region, roi in zip(regions, seen["rois"], strict=True):  # type: ignore[call-overload]
        assert len(region)
        torch.testing.assert_close(roi, region * scale)


@pytest.mark.parametrize("size", [(192, 160), (256, 128), (192, 128)])
def test_a_region_holds_the_same_content_on_the_teachers_canvas(size: tuple[int, int]) -> None:
    """What RoIAlign cuts out of the teacher's image is what it cuts out of the student's."""
    ramp = torch.linspace(0, 1, WIDTH).expand(HEIGHT, WIDTH) + 2 * torch.linspace(0, 1, HEIGHT)[:, None]
    image = ramp.expand(1, 3, -1, -1)
    region = torch.tensor([[16.0, 12, 48, 44], [40, 24, 80, 56]])
    teacher = make_detector(make_arch("faster_rcnn", size=size), seed=2)
    seen: list[Tensor] = []
    teacher.roi_heads.box_roi_pool.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs[1]))
    shown = show_canvas(image, size)
    teacher.eval().view(shown, [region], (WIDTH, HEIGHT))
    ours, theirs = roi_align(image, [region], 7, aligned=True), roi_align(shown, seen, 7, aligned=True)
    torch.testing.assert_close(theirs, ours, atol=0.01, rtol=0)


@pytest.mark.parametrize("canvas", ["student", "own"])
def test_on_the_students_canvas_the_teacher_sees_the_very_images(kind: str, canvas: str, images: Tensor) -> None:
    student, teacher, step = make_pair(kind, ALL.model_copy(update={"teacher_canvas": canvas}))
    seen: list[Tensor] = []
    teacher.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    step(student.train(), images, OBJECTS["some"])
    assert seen[0] is images
