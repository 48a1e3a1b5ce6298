"""DeFeat and the distillers it is compared with, against hand computations."""

from __future__ import annotations

from math import log, sqrt

import pytest
import torch
from torch import Tensor

from optimizer.detectors import Truth
from optimizer.distill.adapters import MapAdapters
from optimizer.distill.anchor_mask import AnchorMask
from optimizer.distill.base import Scene
from optimizer.distill.config import DEFEAT_RECIPES, DistillConfig, find_decay
from optimizer.distill.defeat import DecoupledBody, DecoupledClasses, DecoupledNeck
from optimizer.distill.gaussian_mask import GaussianMask
from optimizer.distill.masks import draw_gaussians, draw_levels
from optimizer.distill.whole_feature import WholeFeature

STRIDES = (4, 8, 16, 32, 64)
CANVAS = (64, 48)
SHAPES = [(12, 16), (6, 8), (3, 4), (2, 2), (1, 1)]
TRUTHS = [
    Truth(torch.tensor([[8.0, 8, 24, 24], [30, 4, 50, 40]]), torch.tensor([0, 1])),
    Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
]


def make_scene(truths: list[Truth] = TRUTHS, anchors: list[Tensor] | None = None) -> Scene:
    return Scene(truths, CANVAS, STRIDES, lambda: anchors or [])


def make_errors(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(2, *shape, generator=generator) for shape in SHAPES]


def test_equal_weights_by_count_are_the_whole_feature_loss() -> None:
    """On one level: weights in proportion to how many cells there are of each kind."""
    scene = Scene(TRUTHS, CANVAS, (4,), lambda: [])
    error = make_errors()[:1]
    objects = draw_levels(TRUTHS, SHAPES[:1], (4,))[0].mean().item()
    assert 0 < objects < 1
    decoupled = DecoupledNeck(objects, 1 - objects)(error, scene)
    assert decoupled.item() == pytest.approx(WholeFeature()(error, scene).item(), rel=1e-5)


def test_objects_and_background_by_hand() -> None:
    """Errors of 3 in objects, of 5 outside: all objects are on the finest level."""
    masks = draw_levels(TRUTHS, SHAPES, STRIDES)
    errors = [torch.where(mask > 0, 3.0, 5.0) for mask in masks]
    assert masks[0].any() and not any(mask.any() for mask in masks[1:])
    expected = (4 / 2 * 3 + 5 * 16 / 2 * 5) / 5
    assert DecoupledNeck(4.0, 16.0)(errors, make_scene()).item() == pytest.approx(expected)
    assert DecoupledNeck(4.0, 0.0)(errors, make_scene()).item() == pytest.approx(4 / 2 * 3 / 5)
    assert DecoupledNeck(0.0, 0.0)(errors, make_scene()).item() == 0


def test_the_body_is_masked_by_all_objects_on_every_stage() -> None:
    whole = [Truth(torch.tensor([[0.0, 0, 64, 48]]), torch.tensor([0]))]
    errors = [torch.full((1, *shape), 2.0) for shape in SHAPES[1:4]]
    assert DecoupledBody(4.0, 16.0)(errors, make_scene(whole)).item() == pytest.approx(4 / 2 * 2)
    assert DecoupledBody(4.0, 16.0)(errors, make_scene(TRUTHS[1:])).item() == pytest.approx(16 / 2 * 2)


@pytest.mark.parametrize("distiller", [DecoupledNeck(4.0, 16.0), WholeFeature(), AnchorMask(8), GaussianMask()])
def test_batches_without_objects_have_a_defined_value(distiller: torch.nn.Module) -> None:
    anchors = [torch.zeros(shape[0] * shape[1], 4) for shape in SHAPES]
    errors = [error.requires_grad_() for error in make_errors()]
    loss = distiller(errors, make_scene(TRUTHS[1:] * 2, anchors))
    loss.backward()
    assert torch.isfinite(loss) and all(torch.isfinite(error.grad).all() for error in errors if error.grad is not None)
    if isinstance(distiller, AnchorMask | GaussianMask):
        assert loss.item() == 0


def test_the_gaussian_mask_weighs_by_hand() -> None:
    errors, maps = make_errors(), draw_gaussians(TRUTHS, SHAPES, STRIDES)
    expected = (errors[0] * maps[0]).sum() / (2 * maps[0].sum()) / 5
    assert GaussianMask()(errors, make_scene()).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_anchor_mask_by_hand() -> None:
    """One anchor a cell, the cell itself; an object of one cell: its error, times 0.01 * 8 channels / 2."""
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing="ij")
    corner = torch.stack((columns, rows), -1).reshape(-1, 2) * 4
    cells = torch.cat((corner, corner + 4), 1)
    truths = [Truth(torch.tensor([[8.0, 4, 12, 8]]), torch.tensor([0]))] * 2
    error = make_errors()[:1]
    expected = 0.01 * 8 / 2 * error[0][:, 1, 2].mean()
    assert AnchorMask(8)(error, make_scene(truths, [cells])).item() == pytest.approx(expected.item(), rel=1e-5)


def test_classes_are_decoupled_by_hand() -> None:
    """Two positive proposals, one negative, of two outcomes each."""
    teacher = torch.tensor([[[0.5, 0.5]], [[0.2, 0.8]], [[0.1, 0.9]]]).log()
    student = torch.tensor([[[0.25, 0.75]], [[0.2, 0.8]], [[0.2, 0.8]]]).log()
    positive = torch.tensor([True, True, False])
    of_objects = (0.5 * log(0.5 / 0.25) + 0.5 * log(0.5 / 0.75)) / 2
    of_background = 0.1 * log(0.1 / 0.2) + 0.9 * log(0.9 / 0.8)
    loss = DecoupledClasses((2.0, 3.0), (1.0, 1.0))(student, teacher, positive)
    assert loss.item() == pytest.approx(2 * of_objects + 3 * of_background, rel=1e-5)
    first = sqrt(0.25) / (sqrt(0.25) + sqrt(0.75))
    softened = 0.5 * log(0.5 / first) + 0.5 * log(0.5 / (1 - first))
    soft = DecoupledClasses((1.0, 0.0), (2.0, 1.0))(student, teacher, positive)
    assert soft.item() == pytest.approx(4 * softened / 2, rel=1e-5), "T squared"
    assert DecoupledClasses((1.0, 1.0), (3.0, 0.5))(teacher, teacher, positive).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("positive", [[True, True], [False, False], []])
def test_a_half_that_is_empty_adds_nothing(positive: list[bool]) -> None:
    student = torch.rand(len(positive), 1, 3).log_softmax(-1).requires_grad_()
    teacher = torch.rand(len(positive), 1, 3).log_softmax(-1)
    loss = DecoupledClasses((1.0, 1.0), (1.0, 2.0))(student, teacher, torch.tensor(positive, dtype=torch.bool))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(student.grad).all() and (loss.item() == 0) == (not positive)


def test_the_necks_adapters_are_all_but_nothing_at_first() -> None:
    adapters = MapAdapters([3, 3], [5, 5])
    ours, theirs = [torch.rand(2, 3, 4, 4)] * 2, [torch.rand(2, 5, 4, 4)] * 2
    for error, taught in zip(adapters(ours, theirs), theirs):
        torch.testing.assert_close(error, taught.square().mean(1), atol=0.05, rtol=0)
    assert all(0 < adapter.weight.abs().max() <= 2e-4 and not adapter.bias.any() for adapter in adapters)
    assert (adapters[0].kernel_size, adapters[0].padding) == ((3, 3), (1, 1))


def test_the_bodys_adapters_have_a_relu() -> None:
    adapters = MapAdapters([3], [5], rectified=True)
    torch.nn.init.constant_(adapters[0].weight, -1.0)
    torch.nn.init.zeros_(adapters[0].bias)
    theirs = torch.rand(2, 5, 4, 4)
    torch.testing.assert_close(adapters([torch.rand(2, 3, 4, 4)], [theirs])[0], theirs.square().mean(1))


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("constant", [1, 1, 1, 1]), ("linear", [1, 0.875, 0.75, 0]), ("cosine", [1, 0.9619, 0.8536, 0]),
        ("up_down", [1, 1.5, 2, 0]),
    ],
)  # fmt: skip
def test_weights_decay(decay: str, expected: list[float]) -> None:
    assert [find_decay(decay, done) for done in (0, 0.125, 0.25, 1)] == pytest.approx(expected, abs=1e-4)


def test_the_papers_recipes() -> None:
    voc, coco = DEFEAT_RECIPES["voc"], DEFEAT_RECIPES["coco"]
    assert (voc.alpha_object, voc.alpha_background, voc.class_weights) == (3, 12, (2, 2))
    assert (coco.alpha_object, coco.alpha_background) == (4, 16)


def test_a_configuration_is_what_it_was_before_it_could_say_more() -> None:
    assert set(DistillConfig().to_identity()) == {
        "weights", "temperature", "class_aware", "feature_regions", "teacher_canvas"
    }  # fmt: skip
    assert DistillConfig(decay="linear").to_identity()["decay"] == "linear"
