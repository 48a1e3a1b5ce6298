"""Once-for-all's space: its size, its networks as genes, tokens and costs, and what is drawn from it."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from optimizer.arch.bodies.ofa_resnet import OfaShape, read_ofa
from optimizer.arch.families import OFA_SHAPES
from optimizer.arch.ofa_space import OfaSpace, OfaSubnet
from optimizer.errors import InputError

SIZES = ((320, 256), (256, 192))
SPACE = OfaSpace("ofa_resnet50", SIZES)
COUPLED = replace(SPACE, coupled=True)
STEMS = 2 * 3 * 3  # depth, inner and output width of a stem that is not whole


def genes_of(space: OfaSpace, count: int, seed: int = 0) -> tuple[list[OfaSubnet], np.ndarray]:
    rng = Random(seed)
    subnets = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(count))]
    return subnets, np.array([space.genes(subnet) for subnet in subnets])


def test_the_space_is_as_large_as_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """FACTS 4.6; the papers' printed sizes are other ones."""
    assert SPACE.count() == 3**4 * (9 + 27 + 81) ** 3 * (81 + 243 + 729) == 136_606_377_609
    assert SPACE.count() == pytest.approx(1.366e11, rel=1e-3)
    assert STEMS * SPACE.count() == pytest.approx(2.459e12, rel=1e-3)
    assert COUPLED.count() == (9 + 27 + 81) ** 3 * (81 + 243 + 729) == pytest.approx(1.686e9, rel=1e-3)
    monkeypatch.setitem(OFA_SHAPES, "twos", OfaShape((2, 2, 2, 2)))
    twos = OfaSpace("twos", SIZES)
    assert twos.count() == pytest.approx(1.518e10, rel=1e-3)
    assert replace(twos, coupled=True).count() == 117**4 == pytest.approx(1.874e8, rel=1e-3)


def test_the_slots_are_depths_then_widths_then_inner_widths() -> None:
    assert [slot.kind for slot in SPACE.slots] == ["depth"] * 4 + ["width"] * 4 + ["expand"] * 18
    assert SPACE.slots[1].choices == (0, 1, 2) and SPACE.slots[6].choices == (0.65, 0.8, 1.0)
    last = SPACE.slots[-1]
    assert (last.name, last.stage, last.block, last.choices) == ("E4.4", 3, 3, (0.2, 0.25, 0.35))
    assert len({slot.name for slot in SPACE.slots}) == 26
    assert SPACE.layers == tuple((slot.stage, slot.block) for slot in SPACE.slots[8:])


@pytest.mark.parametrize("space", [SPACE, COUPLED, replace(SPACE, depths=(2,), expands=(0.25, 0.35))])
def test_genes_are_a_network_and_back(space: OfaSpace) -> None:
    subnets, genes = genes_of(space, 30)
    for subnet, row in zip(subnets, genes.tolist()):
        assert space.subnet(row, subnet.size) == subnet and space.contains(subnet)
    assert genes[0].tolist() == [0] * 26 and genes[1].tolist() == [len(slot.choices) - 1 for slot in space.slots]
    assert all(gene == 0 or runs for row, run in zip(genes[:, 8:], space.tokens(genes)) for gene, runs in zip(row, run))


def test_equal_networks_are_equal_values() -> None:
    one = OfaSubnet((0, 0, 0, 0), (0.25,) * 18, (1.0,) * 4, SIZES[0])
    assert not SPACE.contains(one), "an absent block has an inner width of its own"
    clean = SPACE.subnet([0] * 4 + [2] * 4 + [1] * 18, SIZES[0])
    assert SPACE.contains(clean) and SPACE.body(clean) == SPACE.body(one)
    assert clean.expands == (0.25, 0.25, 0.2, 0.2) * 2 + (0.25,) * 4 + (0.2,) * 2 + (0.25, 0.25, 0.2, 0.2)


def test_a_token_is_the_choices_of_a_layer_or_0() -> None:
    genes = np.zeros((2, 26), dtype=int)
    genes[1] = [2, 0, 1, 0, *[0, 1, 2, 0], *range(18)]
    genes[1, 8:] %= 3
    tokens = SPACE.tokens(genes)
    assert tokens[0].tolist() == [1, 1, 0, 0] * 2 + [1] * 4 + [0, 0] + [1, 1, 0, 0]
    assert tokens[1].tolist() == [1, 2, 3, 1, 5, 6, 0, 0, 9, 7, 8, 9, 7, 0, 3, 1, 0, 0]
    _, many = genes_of(SPACE, 300)
    assert {*SPACE.tokens(many).flatten().tolist()} == {*range(10)}


@pytest.mark.parametrize("space", [SPACE, COUPLED, replace(SPACE, depths=(1, 2), widths=(0.8,))])
def test_the_cost_of_genes_is_what_the_spec_counts(space: OfaSpace) -> None:
    subnets, genes = genes_of(space, 40, seed=3)
    for size in SIZES:
        counted = [space.body(subnet).count(size).macs for subnet in subnets]
        assert space.cost(genes, size).tolist() == counted
    assert space.cost(genes).tolist() == space.cost(genes, SIZES[0]).tolist()
    assert counted[0] == min(counted) and counted[1] == max(counted)


def test_coupled_choices_stay_together() -> None:
    rng = Random(4)
    together = {(0, 0.65), (1, 0.8), (2, 1.0)}
    one = COUPLED.largest()
    for _ in range(200):
        other = COUPLED.sample(rng)
        made = COUPLED.mutate(one, rng), COUPLED.redraw(one, 0.5, rng), COUPLED.crossover(one, other, rng)
        for subnet in (other, *made):
            assert COUPLED.contains(subnet) and {*zip(subnet.depths, subnet.widths)} <= together
        one = other
    assert not COUPLED.contains(replace(COUPLED.largest(), widths=(0.65,) * 4))


def test_a_choice_is_drawn_anew_at_a_rate() -> None:
    rng = Random(5)
    subnet = SPACE.sample(rng)
    assert SPACE.redraw(subnet, 0.0, rng) == subnet
    own = np.array(SPACE.genes(subnet))
    changed = [np.mean(own != SPACE.genes(SPACE.redraw(subnet, 0.1, rng))) for _ in range(400)]
    assert 0.04 < np.mean(changed) < 0.1, "a choice of three is drawn again in a third of all draws"
    assert len({SPACE.redraw(subnet, 1.0, rng) for _ in range(50)}) == 50


def test_a_block_that_one_parent_runs_has_its_inner_width_in_the_child() -> None:
    deep = SPACE.largest()
    shallow = SPACE.smallest()
    rng = Random(6)
    for _ in range(40):
        child = SPACE.crossover(deep, shallow, rng)
        for (stage, block), expand in zip(SPACE.layers, child.expands):
            beyond = block >= SPACE.shape.base_depths[stage]
            assert expand == (0.35 if child.depths[stage] else 0.2) or not beyond


def test_a_subnet_is_named_by_its_encoding() -> None:
    subnet = replace(SPACE.largest(), widths=(1.0, 0.8, 0.8, 0.65))
    assert str(subnet) == "D2 E0.35 W1,0.8*2,0.65 at 320x256"
    for subnet in genes_of(SPACE, 20)[0]:
        assert read_ofa(str(subnet).partition(" at ")[0], SPACE.shape) == SPACE.body(subnet)
    with pytest.raises(InputError, match="not a subnet of a once-for-all network"):
        OfaSubnet.from_json({"kind": "ofa", "depths": [1]})


def test_the_ends_are_found_on_every_canvas() -> None:
    assert [subnet.size for subnet in SPACE.list_least()] == [*SIZES]
    assert len(SPACE.representatives()) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"family": "r18"}, "no once-for-all network 'r18'"), ({"sizes": ()}, "has a canvas"),
        ({"depths": (2, 1)}, "each ascending"), ({"widths": ()}, "to choose from"),
        ({"expands": (0.0, 0.2)}, "above 0"),
        ({"depths": (-1, 0)}, "from 0"), ({"coupled": True, "depths": (1, 2)}, "as many D as W"),
    ],
)  # fmt: skip
def test_what_is_no_space_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(SPACE, **changes)  # type: ignore[arg-type]
