"""Evolution among subnets: what every proposal keeps, what a generation is made of, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import pytest
from made_trials import make_done

from optimizer.arch.macs import Cost
from optimizer.arch.paths import PathSubnet, PathSubnets
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError
from optimizer.search.base import History, Proposal, ScreenedTrial, SpaceExhausted, Trial
from optimizer.search.evolution import CODE, OFA, SLIDES, Breeding, Evolution

SPACE = PathSubnets("shufflenetv2_20", ((320, 256),))
FULL = SPACE.arch(SPACE.largest()).body.count((320, 256)).macs
SMALL = Breeding(population=10, mutants=4, children=4, parents=3)


def price_macs(history: History) -> Callable[[ArchSpec], float]:
    return lambda arch: arch.body.count(arch.input_size).macs / FULL


def evolve(strategy: Evolution, proposals: int, seed: int = 0, start: list[Trial] | None = None) -> list[Trial]:
    """A history in which a subnet's AP is the share of its later blocks that are of the xception kind."""
    history: list[Trial] = start or [make_done()]
    while len(history) <= proposals:
        number = len(history)
        proposal = strategy.ask(history, Random(f"{seed} {number}"))
        if proposal.screens:
            assert isinstance(proposal.subnet, PathSubnet)
            ap = sum(choice == 3 for choice in proposal.subnet.choices[8:]) / 12
            arch = SPACE.arch(proposal.subnet)
            history.append(ScreenedTrial(number, proposal, arch, ap, ap, Cost(), 0.1))
        else:
            history.append(make_done(number, proposal))
    return history


@pytest.mark.parametrize("breeding", [SMALL, replace(SMALL, mutants=5, children=5, of_all=False)])
def test_every_subnet_is_new_within_its_limit_and_in_the_space(breeding: Breeding) -> None:
    strategy = Evolution(SPACE, (0.9, 0.84), price_macs, breeding, generations=3)
    history = evolve(strategy, 60)
    price, screened = price_macs(history), history[1:]
    subnets = [trial.proposal.subnet for trial in screened]
    assert len(set(subnets)) == 60 and all(SPACE.contains(subnet) for subnet in subnets)
    assert [trial.proposal.aim for trial in screened] == [0.9] * 30 + [0.84] * 30
    assert all(price(SPACE.arch(trial.proposal.subnet)) <= trial.proposal.aim for trial in screened)
    assert all(trial.proposal.epochs == 0 and trial.proposal.parent is None for trial in screened)


def test_generations_are_made_as_asked() -> None:
    history = evolve(Evolution(SPACE, (0.9,), price_macs, SMALL, generations=3), 30)
    kinds = [trial.proposal.note.rpartition(": ")[2] for trial in history[1:]]
    later = ["a mutant"] * 4 + ["a child of two"] * 4 + ["drawn"] * 2
    assert kinds == ["drawn"] * 10 + later * 2
    assert (CODE.population, CODE.mutants, CODE.children, CODE.parents, CODE.rate) == (50, 20, 20, 10, 0.1)
    assert (OFA.population, OFA.mutants, OFA.children, OFA.parents, OFA.rate) == (100, 50, 50, 25, 0.1)
    assert (SLIDES.mutants + SLIDES.children, SLIDES.of_all) == (SLIDES.population, False)


class LikesThrees:
    """A guide that permits subnets whose first block is no xception, and likes xceptions in the others."""

    candidates = 5

    def __init__(self) -> None:
        self.asked: list[int] = []

    def permits(self, subnet: PathSubnet) -> bool:
        return subnet.choices[0] != 3

    def sample(self, rng: Random) -> PathSubnet:
        return next(drawn for drawn in iter(lambda: SPACE.sample(rng), None) if self.permits(drawn))

    def choose(self, subnets: Sequence[PathSubnet]) -> PathSubnet:
        assert all(self.permits(subnet) for subnet in subnets) and len(set(subnets)) == len(subnets)
        self.asked.append(len(subnets))
        return max(subnets, key=lambda subnet: subnet.choices.count(3))


def test_of_some_candidates_the_guide_chooses_the_one_to_look_at() -> None:
    guide = LikesThrees()
    strategy = Evolution(SPACE, (0.95,), price_macs, SMALL, generations=3, guide=guide)
    history, plain = evolve(strategy, 30), evolve(replace(strategy, guide=None), 30)
    price = price_macs(history)
    subnets = [trial.proposal.subnet for trial in history[1:]]
    assert guide.asked[:10] == [5] * 10 and max(guide.asked) == 5
    assert len(set(subnets)) == 30 and all(price(SPACE.arch(subnet)) <= 0.95 for subnet in subnets)
    for trial in history[1:]:
        assert guide.permits(trial.proposal.subnet) or trial.proposal.note.endswith("made smaller")
    likes = [sum(trial.proposal.subnet.choices.count(3) for trial in trials[1:11]) for trials in (history, plain)]
    assert likes[0] > likes[1], "from the first generation on, which no look has guided yet"


def test_where_nothing_that_is_permitted_fits_others_are_made_to_fit() -> None:
    class PermitsNothing(LikesThrees):
        def permits(self, subnet: PathSubnet) -> bool:
            return False

        def sample(self, rng: Random) -> PathSubnet:
            return SPACE.sample(rng)

    (trial,) = evolve(Evolution(SPACE, (0.9,), price_macs, SMALL, generations=1, guide=PermitsNothing()), 1)[1:]
    assert trial.proposal.note.endswith("drawn, and made smaller")
    assert price_macs([])(SPACE.arch(trial.proposal.subnet)) <= 0.9


class Breeds(LikesThrees):
    """Ranks on its own: of the paths with one kind of block everywhere it knows those within a limit."""

    def breed(
        self, price: Callable[[ArchSpec], float], limit: float, breeding: Breeding, generations: int
    ) -> PathSubnet:
        assert (breeding, generations) == (SMALL, 7)
        uniform = [PathSubnet((choice,) * len(SPACE.largest().choices), SPACE.sizes[0]) for choice in range(4)]
        fitting = [subnet for subnet in uniform if price(SPACE.arch(subnet)) <= limit]
        if not fitting:
            raise InputError("no path is so cheap")
        return max(fitting, key=lambda subnet: price(SPACE.arch(subnet)))


def test_a_guide_may_rank_alone_and_the_best_of_each_limit_is_trained_at_once() -> None:
    strategy = Evolution(SPACE, (1.1, 0.9), price_macs, SMALL, generations=7, guide=Breeds(), alone=True)
    first = strategy.ask([make_done()], Random(0))
    assert first == strategy.conclude([make_done()]), "also if the time is used up"
    history = evolve(strategy, 2)
    assert [trial.proposal.aim for trial in history[1:]] == [1.1, 0.9]
    price = price_macs(history)
    for trial in history[1:]:
        assert not trial.proposal.screens and price(SPACE.arch(trial.proposal.subnet)) <= trial.proposal.aim
    with pytest.raises(SpaceExhausted, match="within each of 2 limits was trained"):
        strategy.ask(history, Random(0))
    with pytest.raises(SpaceExhausted, match=r"0\.1 of the base's cost: no path is so cheap"):
        replace(strategy, limits=(0.1,)).ask([make_done()], Random(0))
    assert replace(strategy, limits=(0.1,)).conclude([make_done()]) is None


def test_it_gets_better_from_generation_to_generation() -> None:
    history = evolve(Evolution(SPACE, (1.0,), price_macs, SMALL, generations=8), 80)
    mean = [sum(trial.ap for trial in history[1 + 10 * at : 11 + 10 * at]) / 10 for at in range(8)]
    assert min(mean[5:]) > mean[0] + 0.1


def test_a_proposal_prices_no_more_subnets_the_more_are_known() -> None:
    """Pricing is most of the search's own work, and 1000 subnets are known at the end of the paper's."""
    priced: list[ArchSpec] = []

    def price_aloud(history: History) -> Callable[[ArchSpec], float]:
        price = price_macs(history)
        return lambda arch: (priced.append(arch), price(arch))[1]

    history = evolve(Evolution(SPACE, (1.0,), price_macs, SMALL, generations=12), 120)
    found = []
    for known in (21, 119):  # the first mutant but one of a generation, and the last drawn one
        priced.clear()
        Evolution(SPACE, (1.0,), price_aloud, SMALL, generations=12).ask(history[:known], Random(0))
        found.append(len(priced))
    assert max(found) <= SMALL.parents + 2 + 3, "parents, the least, and a few draws until one is new"


def test_the_best_of_each_limit_is_trained_and_then_it_ends() -> None:
    strategy = Evolution(SPACE, (0.95, 0.85), price_macs, SMALL, generations=2)
    history = evolve(strategy, 42)
    price = price_macs(history)
    for trial, limit in zip(history[41:], (0.95, 0.85)):
        assert trial.proposal.epochs is None and trial.proposal.aim == limit
        fitting = [t for t in history if isinstance(t, ScreenedTrial) and price(t.arch) <= limit]
        best = max(fitting, key=lambda t: (t.ap, -t.number))
        assert trial.proposal.subnet == best.proposal.subnet, "also of what another limit's search found"
    with pytest.raises(SpaceExhausted, match="within each of 2 limits was trained"):
        strategy.ask(history, Random(0))


def test_it_is_pure_in_history_and_random_numbers() -> None:
    strategy = Evolution(SPACE, (0.9,), price_macs, SMALL, generations=3)
    whole = evolve(strategy, 25, seed=4)
    again = evolve(strategy, 25, seed=4, start=whole[:13])
    assert [trial.proposal for trial in again] == [trial.proposal for trial in whole]


def test_a_limit_that_few_meet_is_met_by_making_subnets_smaller() -> None:
    least = price_macs([])(SPACE.arch(SPACE.smallest()))
    history = evolve(Evolution(SPACE, (least + 0.01,), price_macs, SMALL, generations=2), 15)
    assert all(price_macs([])(trial.arch) <= least + 0.01 for trial in history[1:] if isinstance(trial, ScreenedTrial))


def test_a_limit_that_none_meets_says_the_least() -> None:
    with pytest.raises(SpaceExhausted, match=r"at most 0.5 of the base's cost: the least is 0\.6"):
        Evolution(SPACE, (0.5,), price_macs, SMALL).ask([make_done()], Random(0))


def test_a_limit_may_be_of_the_bodys_operations_and_then_no_price_is_asked() -> None:
    def never(history: History) -> Callable[[ArchSpec], float]:
        raise AssertionError("a body costs what it costs")

    canvases = replace(SPACE, sizes=((320, 256), (256, 208)))
    history = evolve(Evolution(canvases, (300e6,), never, SMALL, generations=2), 21)
    bodies = [trial.arch.body.count((224, 224)).macs for trial in history[1:21] if isinstance(trial, ScreenedTrial)]
    assert len(bodies) == 20 and max(bodies) <= 300e6
    assert history[21].proposal.note == "the best within 300M MACs in the body" and history[21].proposal.aim == 300e6
    assert {trial.proposal.subnet.size for trial in history[1:]} == {*canvases.sizes}
    with pytest.raises(SpaceExhausted, match=r"at most 230M MACs in the body: the least is 237\.2M MACs"):
        Evolution(canvases, (230e6,), never, SMALL).ask([make_done()], Random(0))


def test_a_space_with_too_few_subnets_ends() -> None:
    two = replace(SPACE, choices=(0,))
    with pytest.raises(SpaceExhausted, match="no new subnet within 1"):
        strategy = Evolution(two, (1.0,), price_macs, SMALL, generations=2)
        first = Proposal(None, (), "", subnet=two.largest(), epochs=0, aim=1.0)
        screened = ScreenedTrial(1, first, two.arch(two.largest()), 0.1, 0.1, Cost(), 0.1)
        strategy.ask([make_done(), screened], Random(0))


def test_a_smaller_canvas_meets_a_limit_too() -> None:
    canvases = replace(SPACE, sizes=((320, 256), (256, 208)))
    assert canvases.list_least() == (canvases.smallest(), replace(canvases.smallest(), size=(256, 208)))
    history = evolve(Evolution(canvases, (0.6,), price_macs, SMALL, generations=2), 15)
    assert {trial.proposal.subnet.size for trial in history[1:]} == {(256, 208)}


def test_what_is_owed_is_trained_when_time_is_up_and_nothing_else() -> None:
    strategy = Evolution(SPACE, (0.95, 0.85), price_macs, SMALL, generations=9)
    history = evolve(strategy, 12)
    assert strategy.conclude([make_done()]) is None, "nothing was looked at"
    owed = strategy.conclude(history)
    assert owed is not None and (owed.aim, owed.epochs) == (0.95, None)
    history.append(make_done(13, owed))
    second = strategy.conclude(history)
    assert second is None or second.aim == 0.85
