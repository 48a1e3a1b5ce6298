"""The training step of a shrinking super-network: what it draws depends on seed and step number alone."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from optimizer.arch.pool import ElasticSpace
from optimizer.distill.config import DistillConfig
from optimizer.supernet import step as module
from optimizer.supernet.step import ShrinkStep

SIZES = ((80, 64), (64, 64), (96, 72))
DISTILL = DistillConfig(feature_regions=8)


@pytest.fixture
def several(space) -> ElasticSpace:
    """A pool of three canvases."""
    return replace(space, sizes=SIZES)


@pytest.fixture
def draw(several, make_supernet, images, monkeypatch):
    """A function of (step, steps): the depths and widths that are drawn; nothing is computed."""
    archs = []
    monkeypatch.setattr(module, "run_subnet", lambda model, arch, *rest: archs.append(arch) or ({}, [], None))
    monkeypatch.setattr(module.DistillStep, "compare", lambda *arguments: {})

    def take(step, steps):
        archs.clear()
        for _ in range(steps):
            assert step(None, images, []) == {}
        return [(arch.body.depths, [stage.blocks[0].widths for stage in arch.body.stages]) for arch in archs]

    return take


@pytest.fixture
def make_step(several, make_supernet):
    """A function of a seed: a step whose teacher has random weights."""
    return lambda seed: ShrinkStep(several, make_supernet(several, 2), DISTILL, seed)


def test_the_seed_decides_what_is_drawn(make_step, draw):
    drawn = [draw(make_step(seed), 20) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({str(member) for member in drawn[0]}) > 10


def test_the_global_random_numbers_play_no_part(make_step, draw):
    torch.manual_seed(1)
    first = draw(make_step(3), 10)
    torch.manual_seed(2)
    assert draw(make_step(3), 10) == first


def test_a_restart_draws_what_would_have_come(make_step, draw):
    whole = draw(make_step(5), 12)
    first, second = make_step(5), make_step(5)
    before = draw(first, 7)
    assert int(first.drawn) == 7
    second.load_state_dict(first.state_dict())
    assert before + draw(second, 5) == whole


@pytest.mark.parametrize("size", [*SIZES, (112, 64)])
def test_whatever_canvas_the_batch_has_is_the_teachers_too(several, make_supernet, truths, drawn, size):
    model, teacher = make_supernet(several, 1).train(), make_supernet(several, 2)
    seen = []
    teacher.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.randn(2, 3, size[1], size[0])
    step = ShrinkStep(several, teacher, DISTILL.model_copy(update={"teacher_canvas": "own"}), seed=1)
    losses = step(model, images, truths)
    assert len(seen) == 1 and seen[0] is images
    assert all(torch.isfinite(value) for value in losses.values())


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
    assert len({arch.body.depths for arch in drawn}) > 1 and len({arch.arch_id for arch in drawn}) > 3
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
    narrow = replace(several, depths=tuple((depth,) for depth in largest.depths))
    step = ShrinkStep(narrow, make_supernet(several, 2), DISTILL, seed=1)
    take_steps(step, make_supernet(several, 1).train(), images, truths, 0, 4)
    assert {arch.body.depths for arch in drawn} == {largest.depths}
