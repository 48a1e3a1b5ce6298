"""The training step of a super-network: what it draws depends on seed and step number alone."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from optimizer.arch.pool import ElasticSpace
from optimizer.distill.config import DistillConfig
from optimizer.distill.step import DistillStep
from optimizer.supernet.base import Supernet
from optimizer.supernet.step import SubnetStep

SIZES = ((80, 64), (64, 64), (96, 72))
DISTILL = DistillConfig(feature_regions=8, teacher_canvas="student")


class Recorder(Supernet):
    """Notes what it is asked to run, and computes nothing."""

    def __init__(self, space):
        super().__init__(space, torch.nn.Identity())
        self.seen = []

    def ask(self, subnet, question):
        self.seen.append(subnet)
        return {}

    def extract(self, subnet):
        raise TypeError("nothing to extract")


@pytest.fixture
def several(space) -> ElasticSpace:
    """A pool of three canvases."""
    return replace(space, sizes=SIZES)


@pytest.fixture
def make_step(several):
    """A function of a seed: a step whose super-network notes what is drawn."""
    return lambda seed: SubnetStep(Recorder(several), several, seed)


def draw(step, steps):
    """The depths and widths that are drawn; the canvas is the batch's."""
    start = len(step.supernet.seen)
    for _ in range(steps):
        assert step(step.supernet.shared, torch.zeros(0), []) == {}
    return [(subnet.depths, subnet.widths) for subnet in step.supernet.seen[start:]]


def test_the_seed_decides_what_is_drawn(make_step):
    drawn = [draw(make_step(seed), 20) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len({str(member) for member in drawn[0]}) > 10


def test_the_global_random_numbers_play_no_part(make_step):
    torch.manual_seed(1)
    first = draw(make_step(3), 10)
    torch.manual_seed(2)
    assert draw(make_step(3), 10) == first


def test_a_restart_draws_what_would_have_come(make_step):
    whole = draw(make_step(5), 12)
    first, second = make_step(5), make_step(5)
    before = draw(first, 7)
    assert int(first.drawn) == 7
    second.load_state_dict(first.state_dict())
    assert before + draw(second, 5) == whole


def test_a_phase_draws_from_its_own_space(several):
    largest = several.largest()
    narrow = replace(several, depths=tuple((depth,) for depth in largest.depths))
    drawn = draw(SubnetStep(Recorder(several), narrow, seed=1), 20)
    assert {depths for depths, _ in drawn} == {largest.depths} and len(drawn) > 1


def test_of_one_subnet_alone_a_step_has_no_state(several):
    """So a super-network's first phase goes on from a checkpoint that version 0.1.0 wrote."""
    largest = several.largest()
    alone = replace(several, depths=tuple((depth,) for depth in largest.depths), widths=largest.widths[:1])
    step = SubnetStep(Recorder(several), alone, seed=1)
    assert step.state_dict() == {}
    step.load_state_dict({})
    assert set(draw(step, 3)) == {(largest.depths, largest.widths)}


def make_taught(space, make_elastic, seed=1):
    """A step on one super-network, taught by the largest subnet of another."""
    whole = make_elastic(space, 2)
    teacher = whole.extract(space.largest())
    has_regions = "regions" in teacher.arch.head.readable
    distill = DISTILL if has_regions else DISTILL.model_copy(update={"weights": {"whole_feature": 1.0}})
    return SubnetStep(make_elastic(space, 1), space, seed, DistillStep(teacher.arch, teacher, distill))


@pytest.fixture
def drawn(monkeypatch):
    """The subnets that are trained, in turn; they are trained indeed."""
    from optimizer.supernet.elastic import ElasticSupernet

    seen, ask = [], ElasticSupernet.ask
    monkeypatch.setattr(
        ElasticSupernet,
        "ask",
        lambda self, subnet, question: seen.append(subnet) or ask(self, subnet, question),
    )
    return seen


@pytest.mark.parametrize("size", [*SIZES, (112, 64)])
def test_whatever_canvas_the_batch_has_is_the_teachers_too(several, make_elastic, truths, size):
    step = make_taught(several, make_elastic)
    seen = []
    step.distillation._teacher[0].backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.randn(2, 3, size[1], size[0])
    losses = step(step.supernet.shared, images, truths)
    assert len(seen) == 1 and seen[0] is images
    assert all(torch.isfinite(value) for value in losses.values())


def take_steps(step, images, truths, first, count):
    losses = []
    for number in range(first, first + count):
        torch.manual_seed(number)  # the detector samples its regions at random
        losses.append({name: value.item() for name, value in step(step.supernet.shared, images, truths).items()})
    return losses


def test_random_subnets_are_trained_and_taught(several, make_elastic, images, truths, drawn):
    step = make_taught(several, make_elastic)
    teacher = step.distillation._teacher[0]
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    for losses in take_steps(step, images, truths, 0, 6):
        assert {f"distill_{name}" for name in step.distillation.weights} < set(losses)
        assert all(torch.isfinite(torch.tensor(value)) for value in losses.values())
    assert len({subnet.depths for subnet in drawn}) > 1 and len(set(drawn)) > 3
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    assert {name.partition(".")[0] for name in step.state_dict()} == {"drawn", "distillation"}
    assert len(list(step.parameters())) == 2, "the adapter's"


def test_without_a_teacher_a_subnet_has_its_own_losses_alone(several, make_elastic, images, truths):
    supernet = make_elastic(several, 1)
    (losses,) = take_steps(SubnetStep(supernet, several, seed=1), images, truths, 0, 1)
    torch.manual_seed(0)
    assert losses.keys() == supernet.extract(several.smallest()).train().losses(images, truths).keys()


def test_a_restart_of_a_taught_training_is_exact(several, make_elastic, images, truths, drawn):
    step, again = make_taught(several, make_elastic), make_taught(several, make_elastic)
    whole = take_steps(step, images, truths, 0, 2)
    state, weights = copy.deepcopy(step.state_dict()), copy.deepcopy(step.supernet.shared.state_dict())
    whole += take_steps(step, images, truths, 2, 2)
    again.load_state_dict(state)
    again.supernet.shared.load_state_dict(weights)
    assert take_steps(again, images, truths, 2, 2) == whole[2:]
    assert drawn[4:] == drawn[2:4]
    for name, tensor in step.supernet.shared.state_dict().items():
        assert torch.equal(tensor, again.supernet.shared.state_dict()[name]), name
