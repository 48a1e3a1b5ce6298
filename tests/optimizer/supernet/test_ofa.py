"""The once-for-all super-network: its phases, its sorting, and slices that keep what was trained together."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
import torch
from slim_pools import FULL_OFA, slim_arch, slim_ofa
from slim_pools import HEADS as SLIM_HEADS
from torch import Tensor, nn

from optimizer.arch.bodies.ofa_resnet import OfaShape
from optimizer.arch.families import FAMILIES, OFA_SHAPES
from optimizer.arch.heads import HEADS, make_head
from optimizer.arch.ofa_space import OfaSpace
from optimizer.arch.pool import ElasticSpace
from optimizer.detectors.base import Detector, Truth
from optimizer.distill.step import DistillStep
from optimizer.errors import InputError
from optimizer.supernet.elastic import ElasticSupernet
from optimizer.supernet.ofa import OfaSupernet, sort_inner
from optimizer.supernet.ofa_config import OfaConfig, OfaPhase, OfaRecipe
from optimizer.supernet.step import SubnetStep
from optimizer.train.config import TrainConfig

TRAIN = TrainConfig(epochs=70, lr=5e-4)
CANVAS = (96, 64)
SMALL = OfaShape((1, 1, 1, 1), (1, 1, 1, 1), (64, 96, 128, 160), 16, 8)
WIDTHS = (0.5, 1.0)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OFA_SHAPES, "small", SMALL)
    monkeypatch.setattr(OfaSpace, "arch", slim_ofa)


def make_supernet(
    *expands: tuple[float, ...], detector: str = "faster_rcnn", widths: tuple[float, ...] = (1.0,)
) -> OfaSupernet:
    spaces = [OfaSpace("small", (CANVAS,), 20, detector, (0, 1), widths, chosen) for chosen in expands]
    supernet = OfaSupernet(spaces, 3, seed=1)
    generator = torch.Generator().manual_seed(2)
    for module in supernet.shared.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5, generator=generator)
    return supernet


def look(detector: Detector) -> list[Tensor]:
    """Its maps, in double precision: sums in another order are then the same."""
    images = torch.randn(1, 3, CANVAS[1], CANVAS[0], generator=torch.Generator().manual_seed(3)).double()
    with torch.no_grad():
        return list(detector.double().eval().get_submodule("backbone")(images).values())


def sum_readers(detector: Detector, stage: int, conv: int) -> Tensor:
    """For each inner channel of the first block of a stage the weights that read it."""
    weight = detector.state_dict()[f"backbone.body.layer{stage + 1}.0.conv{conv}.weight"]
    return weight.abs().sum((0, 2, 3))


def test_channels_are_sorted_by_what_reads_them_and_the_largest_keeps_its_function() -> None:
    supernet = make_supernet((0.5,), (0.25, 0.5))
    before = look(supernet.extract(supernet.space.largest()))
    supernet.begin_phase(0)
    sums = sum_readers(supernet.shared, 0, 3)
    assert (sums[1:] > sums[:-1]).any(), "the first phase sorts nothing"
    supernet.begin_phase(1)
    for stage in range(4):
        for conv in (2, 3):
            sums = sum_readers(supernet.shared, stage, conv)
            assert (sums[1:] <= sums[:-1] + 1e-4).all()
    torch.testing.assert_close(look(supernet.extract(supernet.space.largest())), before)


def test_what_was_trained_together_stays_together() -> None:
    """Subnets of the phase before compute what they did; within each of their widths channels are sorted."""
    supernet = make_supernet((0.5, 1.0), (0.25, 0.5, 1.0), widths=WIDTHS)
    rng = Random(0)
    trained = OfaSpace("small", (CANVAS,), 20, widths=WIDTHS, depths=(0, 1), expands=(0.5, 1.0))
    subnets = [trained.sample(rng) for _ in range(6)] + [trained.smallest(), trained.largest()]
    before = [look(supernet.extract(subnet)) for subnet in subnets]
    supernet.begin_phase(1)
    for subnet, seen in zip(subnets, before):
        torch.testing.assert_close(look(supernet.extract(subnet)), seen)
    sums = sum_readers(supernet.shared, 0, 3)
    assert len(sums) == 64
    for group in (sums[:16], sums[16:32], sums[32:]):
        assert (group[1:] <= group[:-1] + 1e-4).all()
    assert (sums[1:] > sums[:-1]).any(), "groups were not mixed"


def test_nothing_is_sorted_where_only_depth_or_width_shrinks() -> None:
    spaces = [
        OfaSpace("small", (CANVAS,), 20, "faster_rcnn", depths, widths, (0.5,))
        for depths, widths in (((1,), (1.0,)), ((0, 1), (1.0,)), ((0, 1), WIDTHS))
    ]
    supernet = OfaSupernet(spaces, 3, seed=1)
    before = {name: tensor.clone() for name, tensor in supernet.shared.state_dict().items()}
    for number in range(3):
        supernet.begin_phase(number)
    assert all(torch.equal(before[name], tensor) for name, tensor in supernet.shared.state_dict().items())


def test_equal_channels_keep_their_order() -> None:
    supernet = make_supernet((0.5,), (0.25, 0.5))
    sort_inner(supernet.shared, [()] * 4)
    before = {name: tensor.clone() for name, tensor in supernet.shared.state_dict().items()}
    sort_inner(supernet.shared, [()] * 4)
    assert all(torch.equal(before[name], tensor) for name, tensor in supernet.shared.state_dict().items())


@pytest.mark.parametrize("detector", sorted(HEADS))
def test_a_subnet_runs_as_it_is_extracted_under_every_head(detector: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if detector not in SLIM_HEADS:
        monkeypatch.setattr(OfaSpace, "arch", FULL_OFA)
    supernet = make_supernet((0.25, 0.5), detector=detector, widths=WIDTHS)
    regions = "regions" in make_head(detector, CANVAS).readable
    supernet.shared.train()
    images = torch.randn(2, 3, CANVAS[1], CANVAS[0], generator=torch.Generator().manual_seed(4))
    truths = [Truth(torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([1]))] * 2
    subnet = supernet.space.sample(Random(2))
    alone = supernet.extract(subnet).train()
    torch.manual_seed(5)
    losses, _, view = supernet.run(subnet, images, truths, with_view=regions)
    torch.manual_seed(5)
    torch.testing.assert_close(losses, alone.losses(images, truths), rtol=1e-5, atol=1e-6)
    assert (view is not None) == regions


@pytest.mark.parametrize("detector", ["faster_rcnn", "centernet"])
def test_the_full_network_teaches_subnets_what_its_head_can(detector: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OfaSpace, "arch", slim_ofa if detector in SLIM_HEADS else FULL_OFA)
    config = OfaRecipe(train=TRAIN, whole_epochs=1).make("small", (CANVAS,), 20, detector)
    supernet = config.build(3)
    teacher = supernet.extract(supernet.space.largest())
    step = SubnetStep(supernet, config.space(), 1, DistillStep(teacher.arch, teacher, config.distill))
    images = torch.randn(2, 3, CANVAS[1], CANVAS[0], generator=torch.Generator().manual_seed(4))
    truths = [Truth(torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([1]))] * 2
    losses = step(supernet.shared.train(), images, truths)
    (term,) = {name for name in losses if name.startswith("distill_")}
    assert term == {"faster_rcnn": "distill_classification", "centernet": "distill_whole_feature"}[detector]
    losses[term].backward()
    assert any(parameter.grad is not None for parameter in supernet.shared.get_submodule("backbone").parameters())


def test_a_teacher_pool_is_made_of_such_a_body_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Joint-DetNAS' pool: any base whose first channels and blocks are a base of its kind."""
    monkeypatch.setitem(FAMILIES, "ofa_resnet50", SMALL.largest())  # type: ignore[arg-type]
    monkeypatch.setattr(ElasticSpace, "arch", slim_arch)
    space = ElasticSpace("ofa_resnet50", ((1, 2),) * 4, (0.5, 1.0), (CANVAS,), 20)
    supernet = ElasticSupernet(space, 3, seed=1)
    before = look(supernet.extract(space.largest()))
    supernet.begin_phase(1)
    torch.testing.assert_close(look(supernet.extract(space.largest())), before)
    images = torch.randn(2, 3, CANVAS[1], CANVAS[0], generator=torch.Generator().manual_seed(4))
    supernet.shared.train()
    with torch.no_grad():
        seen = supernet.ask(space.smallest(), lambda detector: detector.see(images)).neck
        alone = supernet.extract(space.smallest()).train().see(images).neck
    torch.testing.assert_close(seen, dict(alone), rtol=1e-5, atol=1e-5)


def drawn(recipe: OfaRecipe) -> list[tuple[int, int, int, int]]:
    """Epochs, and how many D, W and E there are to draw, of each phase."""
    return [(p.train.epochs, len(p.depths), len(p.widths), len(p.expands)) for p in recipe.phases()]


def test_phases_are_the_papers() -> None:
    """DetOFA's table of stages: depth 70; width 5 and 65; inner width 5 and 65; three times as long as without."""
    plain = OfaRecipe(train=TRAIN)
    shrunk = plain.model_copy(update={"shrinking": "dwe"})
    assert drawn(plain) == [(70, 3, 3, 3)]
    assert drawn(shrunk) == [(70, 3, 1, 1), (5, 3, 2, 1), (65, 3, 3, 1), (5, 3, 3, 2), (65, 3, 3, 3)]
    assert drawn(plain.model_copy(update={"shrinking": "dew", "whole_epochs": 10})) == [
        (10, 1, 1, 1), (70, 3, 1, 1), (5, 3, 1, 2), (65, 3, 1, 3), (5, 3, 2, 3), (65, 3, 3, 3)
    ]  # fmt: skip
    assert sum(phase.train.epochs for phase in shrunk.phases()) == 3 * 70
    first = shrunk.phases()[1]
    assert (first.widths, first.expands) == ((0.8, 1.0), (0.35,))


def test_the_full_network_teaches_all_phases_but_the_first() -> None:
    config = OfaRecipe(train=TRAIN, shrinking="dwe").make("ofa_resnet50", (CANVAS,), 20, "faster_rcnn")
    assert [config.teacher_phase(phase) for phase in range(5)] == [None, 0, 0, 0, 0]
    assert config.model_copy(update={"taught": False}).teacher_phase(3) is None
    assert config.distill.weights == {"classification": 1.0} and config.name == "ofa_resnet50"
    assert config.space(0).count() == 3**4 and config.space().largest() == replace(config.space()).largest()


def test_coupled_choices_are_a_space_of_their_own() -> None:
    config = OfaRecipe(train=TRAIN, coupled=True).make("ofa_resnet50", (CANVAS,), 20, "retinanet")
    assert config.space().count() == pytest.approx(1.686e9, rel=1e-3) and len(config.phases) == 1
    with pytest.raises(ValueError, match="cannot shrink one after the other"):
        OfaRecipe(train=TRAIN, coupled=True, shrinking="dwe")


def test_a_base_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match="--base is one of ofa_resnet50"):
        OfaRecipe(train=TRAIN).make("r50", (CANVAS,), 20, "faster_rcnn")


def test_phases_that_do_not_grow_are_refused() -> None:
    one = OfaPhase(depths=(2,), train=TRAIN)
    for other in (OfaPhase(depths=(0, 1), train=TRAIN), OfaPhase(depths=(2,), widths=(1.0,), train=TRAIN)):
        with pytest.raises(ValueError, match="each phase draws what the phase before it drew"):
            OfaConfig(family="ofa_resnet50", phases=(one, other), sizes=(CANVAS,))
