"""A super-network of paths: what runs is the path that would be extracted, to the bit, and it keeps no more memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pytest
import torch
from slim_pools import slim_path
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from optimizer.arch.families import PATH_SPACES, PathSpace
from optimizer.arch.paths import PathSubnet, PathSubnets
from optimizer.detectors.base import Truth
from optimizer.supernet.single_path import SinglePathSupernet

CANVAS = (80, 64)
CLASSES = 3
Run = Callable[[Tensor, list[Truth]], dict[str, Tensor]]
TRUTH = Truth(torch.tensor([[8.0, 8.0, 40.0, 40.0], [30.0, 10.0, 70.0, 60.0]]), torch.tensor([0, 2]))


@pytest.fixture(params=["split", "halves"])
def supernet(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[SinglePathSupernet]:
    monkeypatch.setitem(PATH_SPACES, "tiny", PathSpace((1, 2, 2, 1), (16, 24, 32, 40), 8, 64))
    monkeypatch.setattr(PathSubnets, "arch", slim_path)
    yield SinglePathSupernet(PathSubnets("tiny", (CANVAS,), 20, shuffle=request.param), CLASSES, seed=0)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, CANVAS[1], CANVAS[0], generator=torch.Generator().manual_seed(1))


def list_paths(space: PathSubnets) -> list[PathSubnet]:
    """One block everywhere, each of the four, and some of several."""
    same = [PathSubnet((choice,) * space.places, CANVAS) for choice in space.choices]
    return [*same, *(space.sample(Random(seed)) for seed in range(3))]


def run_as(supernet: SinglePathSupernet, path: PathSubnet) -> Run:
    return lambda images, truths: supernet.run(path, images, truths)[0]


def find_losses(run: Run, images: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(5)  # which regions are sampled
    return run(images, [TRUTH, TRUTH])


def test_a_path_computes_what_its_extraction_does_bit_for_bit(supernet: SinglePathSupernet, images: Tensor) -> None:
    for path in list_paths(supernet.space):
        alone = supernet.extract(path)
        supernet.shared.eval()
        with torch.no_grad():
            assert torch.equal(supernet.run_body(path, images), alone.get_submodule("backbone.body")(images)["3"])
        supernet.shared.train()
        losses = find_losses(run_as(supernet, path), images)
        expected = find_losses(alone.train().losses, images)
        assert losses.keys() == expected.keys()
        assert all(torch.equal(losses[name], expected[name]) for name in losses), str(path)


def test_a_step_keeps_for_gradients_what_the_path_alone_does(supernet: SinglePathSupernet, images: Tensor) -> None:
    """So the memory of a training is that of the largest path, and all weights."""

    def count_kept(run: Run) -> int:
        sizes: list[int] = []

        def keep(tensor: Tensor) -> Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with saved_tensors_hooks(keep, lambda tensor: tensor):
            find_losses(run, images)
        return sum(sizes)

    supernet.shared.train()
    for path in list_paths(supernet.space):
        alone = supernet.extract(path).train()
        assert count_kept(run_as(supernet, path)) == count_kept(alone.losses) > 0
