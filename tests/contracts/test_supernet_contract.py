"""What every super-network of the catalogue must do, and one that is in no catalogue: a path through blocks.

The elastic pool is a member; `parts/single_path.py` shows that training, calibration, AP, files and distillation ask
for no kind.
"""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from made_trials import make_done
from tiny_supernets import CANVAS, CLASSES, TINY, enrol
from torch import Tensor, nn
from watched import Watched

from deploy.data import Dataset, read_dataset
from optimizer.arch import count
from optimizer.arch.subnets import Subnet, SubnetSpace, subnet_from_json
from optimizer.data.shapes import write_shapes
from optimizer.detectors import Truth, build_detector
from optimizer.distill.step import DistillStep
from optimizer.errors import InputError
from optimizer.progress import RunProgress
from optimizer.search.elastic_search import ElasticSearch
from optimizer.search.teachers import Teachers
from optimizer.supernet.base import Supernet
from optimizer.supernet.calibrate import recalibrate
from optimizer.supernet.catalogue import SUPERNETS, config_from_json
from optimizer.supernet.config import SupernetConfig
from optimizer.supernet.pool import TeacherPool, find_pool, list_pools
from optimizer.supernet.training import PoolImages, PoolJob, train_pool

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def enrolled() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        enrol(patch)
        yield


@pytest.fixture(scope="module", params=sorted({*SUPERNETS, *TINY}))
def config(request: pytest.FixtureRequest) -> SupernetConfig:
    assert request.param in TINY, f"give the kind {request.param!r} a tiny example in parts/tiny_supernets.py"
    return TINY[request.param]


@pytest.fixture
def space(config: SupernetConfig) -> SubnetSpace:
    return config.space()


@pytest.fixture
def supernet(config: SupernetConfig) -> Supernet:
    """In training mode, with BatchNorms that look trained."""
    built = config.build(CLASSES)
    generator = torch.Generator().manual_seed(2)
    for module in built.shared.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                assert tensor is not None
                tensor.uniform_(0.5, 1.5, generator=generator)
            assert module.running_mean is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
    built.shared.train()
    return built


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, CANVAS[1], CANVAS[0], generator=torch.Generator().manual_seed(1))


@pytest.fixture
def truths() -> list[Truth]:
    boxes = torch.tensor([[8.0, 8, 40, 40], [30, 10, 70, 60]])
    return [Truth(boxes, torch.tensor([0, 2])), Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))]


def draw(space: SubnetSpace, number: int, seed: int = 0) -> list[Subnet]:
    rng = Random(seed)
    return [space.sample(rng) for _ in range(number)]


def some_of(space: SubnetSpace) -> list[Subnet]:
    return [space.largest(), space.smallest(), *draw(space, 3)]


# the space


def test_draws_mutants_and_children_lie_in_the_space(space: SubnetSpace) -> None:
    rng = Random(1)
    subnet = space.largest()
    for drawn in draw(space, 60):
        mutant, child = space.mutate(subnet, rng), space.crossover(subnet, drawn, rng)
        assert all(space.contains(member) for member in (drawn, mutant, child))
        assert mutant != subnet
        subnet = mutant


def list_choices(subnet: Subnet) -> list[Any]:
    """The leaves of its JSON, in order."""

    def walk(value: Any) -> Iterator[Any]:
        if isinstance(value, (list, tuple)):
            for item in value:
                yield from walk(item)
        else:
            yield value

    return [leaf for _, value in sorted(subnet.to_json().items()) for leaf in walk(value)]


def test_a_child_takes_each_choice_from_one_of_its_parents(space: SubnetSpace) -> None:
    rng = Random(2)
    new = 0
    for one, other in zip(draw(space, 40, seed=3), draw(space, 40, seed=4)):
        child = space.crossover(one, other, rng)
        parents = zip(list_choices(one), list_choices(other))
        assert all(choice in pair for choice, pair in zip(list_choices(child), parents, strict=True))
        assert space.crossover(one, one, rng) == one
        new += child not in (one, other)
    assert new, "choices are taken one by one"


def test_equal_random_numbers_give_equal_subnets(space: SubnetSpace) -> None:
    assert draw(space, 5, seed=7) == draw(space, 5, seed=7) != draw(space, 5, seed=8)
    one, other = draw(space, 2)
    assert space.mutate(one, Random(5)) == space.mutate(one, Random(5))
    assert space.crossover(one, other, Random(5)) == space.crossover(one, other, Random(5))


def test_the_ends_hold_all_others_between_them(space: SubnetSpace) -> None:
    def macs(subnet: Subnet) -> int:
        return count(space.arch(subnet).with_size(*CANVAS), CLASSES).macs

    assert all(macs(space.smallest()) <= macs(subnet) <= macs(space.largest()) for subnet in draw(space, 30))
    assert macs(space.smallest()) < macs(space.largest())
    shown = space.representatives()
    assert (shown[0], shown[-1]) == (space.largest(), space.smallest()) and len(set(shown)) == len(shown)
    assert all(space.contains(subnet) for subnet in shown)


def test_the_count_is_how_many_there_are_on_one_canvas(config: SupernetConfig) -> None:
    space = config.model_copy(update={"sizes": config.sizes[:1]}).space()
    assert len(set(draw(space, 40 * space.count()))) == space.count()
    assert config.space().count() == space.count()


def test_a_subnet_is_a_value_that_json_holds(space: SubnetSpace) -> None:
    for subnet in some_of(space):
        again = subnet_from_json(json.loads(json.dumps(subnet.to_json())))
        assert again == subnet and hash(again) == hash(subnet) and str(again) == str(subnet)
    drawn = draw(space, 50)
    assert len({str(subnet) for subnet in drawn}) == len(set(drawn))


# the shared weights


def test_a_subnet_runs_as_the_detector_it_is_extracted_to(
    supernet: Supernet, images: Tensor, truths: list[Truth]
) -> None:
    for subnet in some_of(supernet.space):
        alone = supernet.extract(subnet).train()
        torch.manual_seed(5)
        losses, regions, view = supernet.run(subnet, images, truths, with_view=True)
        torch.manual_seed(5)
        expected, expected_regions, expected_view = alone.losses_and_regions(images, truths, with_view=True)
        torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(regions, expected_regions, rtol=1e-4, atol=1e-4)
        assert view is not None and expected_view is not None
        torch.testing.assert_close(tuple(view), tuple(expected_view), rtol=1e-4, atol=1e-5)
        assert supernet.run(subnet, images, truths)[2] is None


def flatten(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten().double() for tensor in tensors])


def find_places(supernet: Supernet, subnet: Subnet) -> dict[str, Tensor]:
    """For every tensor of the extracted subnet the places, in all of `shared` laid end to end, it is copied from.

    Found by numbering the shared weights and extracting the numbers.
    """
    numbered = copy.deepcopy(supernet)
    start = 0
    for tensor in numbered.shared.state_dict().values():
        tensor.copy_(torch.arange(start, start + tensor.numel()).reshape(tensor.shape))
        start += tensor.numel()
    assert start < 2**24, "more numbers than float32 tells apart"
    return {name: tensor.long() for name, tensor in numbered.extract(subnet).state_dict().items()}


def test_gradients_and_statistics_reach_what_the_subnet_holds_and_nothing_else(
    supernet: Supernet, images: Tensor, truths: list[Truth]
) -> None:
    for subnet in some_of(supernet.space)[1:]:
        supernet.shared.zero_grad()
        alone, places = supernet.extract(subnet).train(), find_places(supernet, subnet)
        before = flatten(list(supernet.shared.state_dict().values()))
        torch.manual_seed(5)
        torch.stack(list(supernet.run(subnet, images, truths)[0].values())).sum().backward()
        torch.manual_seed(5)
        torch.stack(list(alone.losses(images, truths).values())).sum().backward()

        parameters = dict(supernet.shared.named_parameters())
        state = supernet.shared.state_dict()
        gradients = [parameters[name].grad if name in parameters else None for name in state]
        gradient = flatten([torch.zeros_like(t) if g is None else g for t, g in zip(state.values(), gradients)])
        changed = flatten(list(state.values())) - before
        own = dict(alone.named_parameters())
        for name, place in places.items():
            if name in own:
                expected = torch.zeros_like(own[name]) if own[name].grad is None else own[name].grad
                assert expected is not None
                torch.testing.assert_close(gradient[place], expected.double(), rtol=1e-3, atol=1e-5, msg=name)
            elif name.endswith("running_mean"):
                assert changed[place].any(), name
            after = alone.state_dict()[name].double()
            torch.testing.assert_close((before + changed)[place], after, rtol=1e-5, atol=1e-6, msg=name)
        outside = torch.ones(len(gradient), dtype=torch.bool)
        outside[torch.cat([place.flatten() for place in places.values()])] = False
        assert outside.any() and not gradient[outside].any() and not changed[outside].any()


def test_an_extracted_subnet_is_a_plain_detector_that_shares_no_memory(supernet: Supernet) -> None:
    space = supernet.space
    pointers = {tensor.untyped_storage().data_ptr() for tensor in supernet.shared.state_dict().values()}
    for subnet in some_of(space):
        detector, plain = supernet.extract(subnet), build_detector(space.arch(subnet), CLASSES)
        assert detector.arch == space.arch(subnet) and not any(module.training for module in detector.modules())
        assert [type(module) for module in detector.modules()] == [type(module) for module in plain.modules()]
        assert not pointers & {tensor.untyped_storage().data_ptr() for tensor in detector.state_dict().values()}
        assert sum(p.numel() for p in detector.parameters()) == count(space.arch(subnet), CLASSES).params


def test_recalibration_is_the_average_over_the_images(supernet: Supernet, images: Tensor) -> None:
    batches = [images, images + 0.5, images - 1.0]
    for subnet in some_of(supernet.space)[:3]:
        detector, by_hand = supernet.extract(subnet), supernet.extract(subnet)
        seen: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for name, norm in by_hand.named_modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.train().register_forward_pre_hook(
                    lambda _, inputs, into=seen[name]: into.append(
                        (inputs[0].mean((0, 2, 3)), inputs[0].transpose(0, 1).flatten(1).var(1))
                    )
                )
        with torch.no_grad():
            for batch in batches:
                by_hand.get_submodule("backbone")(batch)
        recalibrate(detector, batches, CPU)
        state = detector.state_dict()
        for name, moments in seen.items():
            mean, variance = (torch.stack(part).mean(0) for part in zip(*moments))
            torch.testing.assert_close(state[f"{name}.running_mean"], mean, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(state[f"{name}.running_var"], variance, rtol=1e-4, atol=1e-5)


def test_the_beginning_of_a_phase_leaves_what_the_largest_computes(
    config: SupernetConfig, supernet: Supernet, images: Tensor
) -> None:
    def compute() -> list[Tensor]:
        with torch.no_grad():
            return list(supernet.extract(supernet.space.largest()).get_submodule("backbone")(images).values())

    before = compute()
    for phase in range(len(config.phases)):
        supernet.begin_phase(phase)
        torch.testing.assert_close(compute(), before, rtol=1e-4, atol=1e-4)


def test_the_seed_decides_the_first_weights(config: SupernetConfig) -> None:
    one, same, other = (
        config.model_copy(update={"seed": seed}).build(CLASSES).shared.state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], tensor) for name, tensor in same.items())
    assert not all(torch.equal(one[name], tensor) for name, tensor in other.items())


# the training, and what comes of it


def test_a_recipe_and_a_job_survive_json_and_name_their_kind(config: SupernetConfig) -> None:
    assert config_from_json(json.loads(config.model_dump_json())) == config
    job = PoolJob(config=config, folder=Path("pool"), phase=0, data=Path("data"))
    told = json.loads(json.dumps(job.model_dump(mode="json")))
    assert PoolJob.model_validate(told) == job and type(PoolJob.model_validate(told).config) is type(config)


def test_a_kind_that_is_unknown_is_refused() -> None:
    with pytest.raises(InputError, match="no kind of super-network 'other'; there are: elastic"):
        config_from_json({"kind": "other"})


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes", train=6, val=2, size=(64, 64), seed=3)


@pytest.fixture(scope="module")
def splits(shapes: Path) -> tuple[Dataset, Dataset]:
    return read_dataset(shapes, "train"), read_dataset(shapes, "val")


def train_in(folder: Path, config: SupernetConfig, splits: Any, shapes: Path, progress: RunProgress) -> TeacherPool:
    return train_pool(folder, config, PoolImages(shapes, *splits), CPU, progress)


@pytest.fixture(scope="module")
def trained(
    config: SupernetConfig, splits: tuple[Dataset, Dataset], shapes: Path, tmp_path_factory: pytest.TempPathFactory
) -> TeacherPool:
    folder, _ = find_pool(tmp_path_factory.mktemp("pools"), config, splits[0])
    return train_in(folder, config, splits, shapes, Watched())


def test_a_pool_is_trained_found_and_listed(
    trained: TeacherPool, config: SupernetConfig, splits: tuple[Dataset, Dataset]
) -> None:
    assert trained.config == config and trained.folder.name.startswith(f"{config.name}-")
    assert find_pool(trained.folder, config, splits[0]) == (trained.folder, config)
    (listed,) = list_pools(trained.folder.parent)
    assert listed == trained.manifest and listed.is_trained
    assert set(listed.ap) == {str(subnet) for subnet in trained.space.representatives()}
    untrained = config.build(CLASSES).shared.state_dict()
    weights = trained.supernet.shared.state_dict()
    assert any(not torch.equal(tensor, untrained[name]) for name, tensor in weights.items())


def test_a_training_that_was_interrupted_comes_to_the_same_weights(
    trained: TeacherPool, config: SupernetConfig, splits: tuple[Dataset, Dataset], shapes: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path / "pool", config, splits, shapes, Watched((0, 2)))
    weights = train_in(tmp_path / "pool", config, splits, shapes, Watched()).supernet.shared.state_dict()
    for name, tensor in trained.supernet.shared.state_dict().items():
        assert torch.equal(weights[name], tensor), name


def test_a_subnet_of_a_pool_has_its_own_statistics_and_teaches(
    trained: TeacherPool, images: Tensor, truths: list[Truth]
) -> None:
    (subnet,) = draw(trained.space, 1)
    teacher, again = trained.extract(subnet, CPU), trained.extract(subnet, CPU)
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in teacher.state_dict().items())
    shared = trained.supernet.extract(subnet).state_dict()
    first = next(name for name in shared if name.endswith("running_mean"))
    assert not torch.equal(teacher.state_dict()[first], shared[first])
    student = build_detector(trained.space.arch(trained.space.smallest()), CLASSES, seed=1).train()
    losses = DistillStep(student.arch, teacher, trained.config.distill)(student, images, truths)
    assert any(name.startswith("distill_") for name in losses)
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_strategies_propose_subnets_and_teachers_of_any_kind(space: SubnetSpace) -> None:
    strategy = ElasticSearch(space, teachers=Teachers(space))
    history = [make_done()]
    for number in range(1, 6):
        proposal = strategy.ask(tuple(history), Random(number))
        assert proposal.subnet is not None and space.contains(proposal.subnet)
        assert proposal.teacher == space.largest()
        history.append(make_done(number, proposal, score=1.0 + number / 10))
    moved = Teachers(space).move(space.largest(), Random(0))
    assert moved != space.largest() and space.contains(moved)
