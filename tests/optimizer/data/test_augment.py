"""Augmentation: what it may change, and what it depends on."""

from __future__ import annotations

import pytest
import torch

from deploy.pipeline.preprocess import Preprocess
from optimizer.data.augment import AUGMENTATIONS, augment
from optimizer.detectors.base import Truth

PREPROCESS = Preprocess.imagenet(48, 40)
NAMES = [name for name, make in AUGMENTATIONS.items() if make is not None]
TRUTH = Truth(torch.tensor([[0.0, 0, 48, 40], [4, 5, 20, 25], [40, 30, 48, 40]]), torch.tensor([2, 0, 1]))


def sample() -> torch.Tensor:
    return torch.randint(0, 256, (3, 40, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def apply(name: str, seed: int, truth: Truth = TRUTH) -> tuple[torch.Tensor, Truth]:
    make = AUGMENTATIONS[name]
    assert make is not None
    return augment(sample(), truth, make(PREPROCESS), seed)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_depends_on_its_seed_alone(name: str) -> None:
    first = apply(name, 5)
    torch.rand(7)
    second = apply(name, 5)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1].boxes_xyxy, second[1].boxes_xyxy)
    assert any(not torch.equal(first[0], apply(name, seed)[0]) for seed in range(6, 10))


@pytest.mark.parametrize("name", NAMES)
def test_the_global_generator_is_left_as_it_was(name: str) -> None:
    before = torch.get_rng_state()
    apply(name, 5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_boxes_stay_on_the_canvas_with_their_labels(name: str) -> None:
    for seed in range(30):
        canvas, truth = apply(name, seed)
        assert canvas.shape == (3, 40, 48) and canvas.dtype == torch.uint8 and type(canvas) is torch.Tensor
        assert len(truth.boxes_xyxy) == len(truth.labels) and type(truth.boxes_xyxy) is torch.Tensor
        assert (truth.boxes_xyxy[:, 2:] > truth.boxes_xyxy[:, :2]).all()
        assert (truth.boxes_xyxy >= 0).all() and (truth.boxes_xyxy <= torch.tensor([48, 40, 48, 40])).all()
        assert set(truth.labels.tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("name", NAMES)
def test_an_image_without_objects_comes_through(name: str) -> None:
    empty = Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    for seed in range(5):
        _, truth = apply(name, seed, empty)
        assert truth.boxes_xyxy.shape == (0, 4) and truth.labels.shape == (0,) and truth.labels.dtype == torch.int64


@pytest.mark.parametrize("name", NAMES)
def test_the_sample_given_is_not_written_to(name: str) -> None:
    canvas, boxes = sample(), TRUTH.boxes_xyxy.clone()
    make = AUGMENTATIONS[name]
    assert make is not None
    for seed in range(5):
        augment(canvas, TRUTH, make(PREPROCESS), seed)
    assert torch.equal(canvas, sample()) and torch.equal(TRUTH.boxes_xyxy, boxes)


def test_a_mirrored_object_is_where_its_box_is() -> None:
    canvas = torch.zeros(3, 40, 48, dtype=torch.uint8)
    canvas[:, 5:25, 4:20] = 255
    make = AUGMENTATIONS["light"]
    assert make is not None
    places = set()
    for seed in range(12):
        image, truth = augment(
            canvas, Truth(torch.tensor([[4.0, 5, 20, 25]]), torch.tensor([0])), make(PREPROCESS), seed
        )
        rows, columns = torch.nonzero(image[0] > 128, as_tuple=True)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert truth.boxes_xyxy[0].tolist() == [float(value) for value in box]
        places.add(truth.boxes_xyxy[0, 0].item())
    assert places == {4.0, 28.0}
