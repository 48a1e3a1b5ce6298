"""Training steps of a super-network: what they draw depends on seed and step number alone."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from optimizer.arch.pool import PoolSpace
from optimizer.detectors import Truth
from optimizer.distill.config import DistillConfig
from optimizer.supernet import step as module
from optimizer.supernet.step import ShrinkStep, SupernetStep

SIZES = ((80, 64), (64, 64), (96, 72))
DISTILL = DistillConfig(feature_regions=8)
OBJECT = Truth(torch.tensor([[8.0, 16, 40, 32]]), torch.tensor([1]))


class Canvases:
    """In place of a detector: notes the canvases and boxes it is trained on."""

    def __init__(self):
        self.sizes, self.boxes = [], []

    def losses(self, images, truths):
        self.sizes.append((images.shape[-1], images.shape[-2]))
        self.boxes.append(truths[0].boxes_xyxy[0].tolist())
        return {"loss": images.sum()}


@pytest.fixture
def several(space) -> PoolSpace:
    """A pool of three canvases."""
    return replace(space, sizes=SIZES)


def draw_sizes(step, steps, images):
    model = Canvases()
    for _ in range(steps):
        step(model, images, [OBJECT, OBJECT])
    return model.sizes


def test_every_canvas_is_drawn_and_the_boxes_go_with_it(several, images):
    model, step = Canvases(), SupernetStep(several, seed=1)
    for _ in range(30):
        step(model, images, [OBJECT, OBJECT])
    assert set(model.sizes) == set(SIZES)
    for (width, height), box in zip(model.sizes, model.boxes):
        x, y = width / 80, height / 64
        assert box == pytest.approx([8 * x, 16 * y, 40 * x, 32 * y])
    assert OBJECT.boxes_xyxy.tolist() == [[8.0, 16, 40, 32]], "the batch is left as it was"


def test_the_seed_decides_what_is_drawn(several, images):
    drawn = [draw_sizes(SupernetStep(several, seed), 20, images) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_global_random_numbers_play_no_part(several, images):
    torch.manual_seed(1)
    first = draw_sizes(SupernetStep(several, 3), 10, images)
    torch.manual_seed(2)
    assert draw_sizes(SupernetStep(several, 3), 10, images) == first


def test_a_restart_draws_what_would_have_come(several, images):
    whole = draw_sizes(SupernetStep(several, 5), 12, images)
    first, second = SupernetStep(several, 5), SupernetStep(several, 5)
    before = draw_sizes(first, 7, images)
    assert list(first.state_dict()) == ["drawn"] and int(first.drawn) == 7
    second.load_state_dict(first.state_dict())
    assert before + draw_sizes(second, 5, images) == whole


@pytest.fixture
def drawn(monkeypatch):
    """The architectures that `ShrinkStep` trains, in turn."""
    archs, run = [], module.run_subnet
    monkeypatch.setattr(module, "run_subnet", lambda model, arch, *rest: archs.append(arch) or run(model, arch, *rest))
    return archs


def take_steps(step, model, images, truths, first, count):
    losses = []
    for number in range(first, first + count):
        torch.manual_seed(number)  # the detector samples its regions at random
        losses.append({name: value.item() for name, value in step(model, images, truths).items()})
    return losses


def test_random_subnets_are_trained_and_taught(several, make_supernet, images, truths, drawn):
    model, teacher = make_supernet(several, 1).train(), make_supernet(several, 2)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    step = ShrinkStep(several, teacher, DISTILL, seed=1)
    for losses in take_steps(step, model, images, truths, 0, 6):
        assert {"distill_feature", "distill_classification", "distill_localization"} < set(losses)
        assert all(torch.isfinite(torch.tensor(value)) for value in losses.values())
    assert len({arch.arch_id for arch in drawn}) > 3 and len({arch.input_size for arch in drawn}) > 1
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    assert {name.partition(".")[0] for name in step.state_dict()} == {"drawn", "distillation"}
    assert len(list(step.parameters())) == 2, "the adapter's"


def test_a_restart_of_shrinking_is_exact(several, make_supernet, images, truths, drawn):
    model, teacher = make_supernet(several, 1).train(), make_supernet(several, 2)
    other = copy.deepcopy(model)
    step, again = (ShrinkStep(several, copy.deepcopy(teacher), DISTILL, seed=1) for _ in range(2))
    whole = take_steps(step, model, images, truths, 0, 2)
    state, weights = copy.deepcopy(step.state_dict()), copy.deepcopy(model.state_dict())
    whole += take_steps(step, model, images, truths, 2, 2)
    again.load_state_dict(state)
    other.load_state_dict(weights)
    assert take_steps(again, other, images, truths, 2, 2) == whole[2:]
    assert [arch.arch_id for arch in drawn[4:]] == [arch.arch_id for arch in drawn[2:4]]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_a_phase_draws_from_its_own_space(several, make_supernet, images, truths, drawn):
    largest = several.largest()
    narrow = several.narrowed(tuple((depth,) for depth in largest.depths), several.widths)
    step = ShrinkStep(narrow, make_supernet(several, 2), DISTILL, seed=1)
    take_steps(step, make_supernet(several, 1).train(), images, truths, 0, 4)
    assert {arch.depths for arch in drawn} == {largest.depths}
