"""Chains hit the latency they aim at, by the predictor's word, with each kind of action once."""

from __future__ import annotations

import math
from random import Random

import pytest

from optimizer.arch import AddLayer, ArchSpec, Space, base_arch, contains, count
from optimizer.arch.space import legal_actions
from optimizer.search.predictor import Probe, fit_predictor
from optimizer.search.sensitivity import PRIOR
from optimizer.search.sizing import apply_chain, choose_probes, draw_split, find_least, is_saving, size_chain

BASES = {
    "r18": base_arch("r18", (256, 192), region_proposals=100),
    "retinanet": base_arch("r18", (256, 192), "retinanet"),
    "centernet": base_arch("r18", (256, 192), "centernet"),
    "r50": base_arch("r50", (320, 256), region_proposals=200),
    "x101": base_arch("x101", (320, 256), region_proposals=200),
}


def space_of(arch: ArchSpec) -> Space:
    width, height = arch.input_size
    sizes = ((width, height), (width - 32, height - 24), (width - 64, height - 48))
    return Space(sizes=sizes, region_proposals=(200, 100, 50))


def list_kinds(arch: ArchSpec, space: Space) -> list[str]:
    """The kinds of saving that a detector has, as a search splits a saving over them."""
    legal = {action.kind for action in legal_actions(arch, space) if is_saving(action)}
    return [kind for kind in PRIOR if kind in legal]


@pytest.mark.parametrize("name", sorted(BASES))
def test_aims_are_hit_and_no_kind_of_action_comes_twice(name: str) -> None:
    arch, rng = BASES[name], Random(3)
    space, predictor = space_of(arch), fit_predictor(arch, ())
    off, kinds = [], list_kinds(arch, space)
    for _ in range(16 if name == "r18" else 6):
        aim = rng.uniform(0.5, 0.9)
        chain = size_chain(arch, aim, draw_split(kinds, PRIOR, rng), space, predictor)
        child = apply_chain(arch, chain)
        assert child is not None and contains(child, space)
        assert len({action.kind for action in chain}) == len(chain) > 0
        assert predictor.predict(child) < 1 and all(is_saving(action) for action in chain)
        off.append(abs(predictor.predict(child) / aim - 1))
    assert sorted(off)[len(off) * 3 // 4] < 0.03, "three in four; the others are at a bound, and drawn anew"


def test_a_moved_block_comes_first_and_no_block_is_then_left_out() -> None:
    arch = BASES["r18"]
    space, predictor = space_of(arch), fit_predictor(arch, ())
    split = {"prune_layer": 0.5, "prune_fpn": 0.3, "resize": 0.2}
    assert "prune_layer" in {action.kind for action in size_chain(arch, 0.7, split, space, predictor)}
    chain = size_chain(arch, 0.7, split, space, predictor, first=AddLayer(1))
    assert chain[0] == AddLayer(1) and "prune_layer" not in {action.kind for action in chain}
    child = apply_chain(arch, chain)
    assert child is not None and predictor.predict(child) == pytest.approx(0.7, rel=0.03)


def test_a_space_of_canvases_alone_gives_the_nearest_one() -> None:
    arch = BASES["r18"]
    space, predictor = space_of(arch), fit_predictor(arch, ())
    shares = {size: predictor.predict(arch.with_size(*size)) for size in space.sizes}
    for size, share in list(shares.items())[1:]:
        (resize,) = size_chain(arch, share + 0.02, {"resize": 1.0}, space, predictor)
        assert resize.to_json()["size"] == size


def test_nothing_is_proposed_where_nothing_helps() -> None:
    arch = BASES["r18"]
    space = Space(sizes=(arch.input_size,), actions=("resize", "add_layer"))
    assert size_chain(arch, 0.5, {"resize": 1.0}, space, fit_predictor(arch, ())) == ()


def test_the_least_latency_is_below_what_any_draw_reaches() -> None:
    arch, rng = BASES["r18"], Random(0)
    space, predictor = space_of(arch), fit_predictor(arch, ())
    least = find_least(arch, space, predictor)
    for _ in range(5):
        child = apply_chain(arch, size_chain(arch, 0.05, draw_split(list(PRIOR), PRIOR, rng), space, predictor))
        assert child is not None and predictor.predict(child) >= least * 0.99


def test_a_split_prefers_what_costs_little_and_forgets_nothing() -> None:
    rng = Random(0)
    splits = [draw_split(["cheap", "dear"], {"cheap": 1.0, "dear": 20.0}, rng) for _ in range(300)]
    assert all(sum(split.values()) <= 1.0 + 1e-9 for split in splits)
    means = {kind: sum(split.get(kind, 0.0) for split in splits) / 300 for kind in ("cheap", "dear")}
    assert means["cheap"] > 2 * means["dear"] > 0.1


@pytest.mark.parametrize("name", sorted(BASES))
def test_probes_tell_the_parts_of_a_latency_apart(name: str) -> None:
    """A device whose latency is not in proportion to operations is known after the probes."""
    arch = BASES[name]
    space = space_of(arch)

    def device(of: ArchSpec) -> float:
        body = of.body.count(of.input_size).macs / arch.body.count(arch.input_size).macs
        return 0.2 + 0.5 * body + 0.3 * count(of).macs / count(arch).macs

    chains = choose_probes(arch, space)
    assert 4 <= len(chains) <= 7
    measured = []
    for chain in chains:
        probed = apply_chain(arch, chain)
        assert probed is not None
        measured.append(Probe(probed, device(probed)))
    before, after = fit_predictor(arch, ()), fit_predictor(arch, measured)
    rng, errors = Random(5), {"before": 0.0, "after": 0.0}
    for _ in range(4):
        split = draw_split(list(PRIOR), dict.fromkeys(PRIOR, 1.0), rng)
        child = apply_chain(arch, size_chain(arch, rng.uniform(0.5, 0.8), split, space, before))
        assert child is not None
        errors["before"] += abs(math.log(before.predict(child) / device(child)))
        errors["after"] += abs(math.log(after.predict(child) / device(child)))
    assert errors["after"] / 4 < 0.05 and errors["after"] < errors["before"]
