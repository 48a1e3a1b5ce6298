"""Evolution among the subnets of a super-network, under limits of cost (DetNAS, FACTS 3.5).

Subnets are judged without training, by the super-network's weights; the best one of each limit is trained at the end.
Two variants are known. The published code's: mutants, children of two and fresh ones, from the best of all generations.
The slides': half mutants, half children, from the best of the generation before. Two faults of the code are not
repeated: its cap on attempts never ends, and a generation may hold the same subnet twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any, Protocol

from optimizer.arch.macs import count
from optimizer.arch.spec import ArchSpec
from optimizer.arch.subnets import Subnet, SubnetSpace
from optimizer.errors import InputError
from optimizer.search.base import DoneTrial, History, Proposal, ScreenedTrial, SpaceExhausted, get_done
from optimizer.search.predictor import Probe, fit_predictor, list_measured

__all__ = [
    "BREEDINGS", "CODE", "OFA", "SLIDES", "Breeding", "Evolution", "GeneSpace", "Guide", "count_body",
    "describe_limit", "find_least", "is_of_body", "name_limit", "price_by_latency", "price_by_macs",
]  # fmt: skip

ATTEMPTS = 10  # draws, in populations, before a generation is filled up in another way
REPAIRS = 40  # times that a subnet takes choices of the smallest until it is within a limit
MOST_SHARE, LEAST_MACS = 1e3, 1e6  # a limit below the one is a share of the base's cost, from the other on MACs
CLASSIFIED = (224, 224)  # canvas that the paper counts the operations of a body on
Price = Callable[[ArchSpec], float]


class GeneSpace(SubnetSpace, Protocol):
    """A space whose subnets are made of choices that can be drawn anew one by one."""

    def list_least(self) -> Sequence[Subnet]:
        """The subnet with the fewest operations on each canvas."""
        ...

    def redraw(self, subnet: Any, rate: float, rng: Random) -> Subnet:
        """A copy, each of whose choices is drawn anew with this probability."""
        ...


class Guide(Protocol):
    """What is known of subnets before they are judged (DetOFA's path filter)."""

    @property
    def candidates(self) -> int:
        """How many to choose one from."""
        ...

    def sample(self, rng: Random) -> Subnet:
        """A random subnet that is permitted."""
        ...

    def permits(self, subnet: Any) -> bool:
        """Whether a subnet was meant to be trained."""
        ...

    def choose(self, subnets: Sequence[Any]) -> Subnet:
        """The most promising of some within a limit."""
        ...

    def breed(self, price: Price, limit: float, breeding: Breeding, generations: int) -> Subnet:
        """The best subnet within a limit, of generations that are ranked without a look at any; always the same.

        Raises:
            InputError: no subnet is within the limit.
        """
        ...


@dataclass(frozen=True)
class Breeding:
    """What a generation is made of.

    Attributes:
        population: subnets of a generation; the first one is drawn at random.
        mutants, children: of a later generation; what is left of its population is drawn at random.
        parents: how many of the best have offspring.
        of_all: whether those are the best of all that is known, or of the generation before.
        rate: probability that a mutant's choice is drawn anew.
    """

    population: int = 50
    mutants: int = 20
    children: int = 20
    parents: int = 10
    of_all: bool = True
    rate: float = 0.1


CODE = Breeding()
SLIDES = Breeding(mutants=25, children=25, of_all=False)
OFA = Breeding(population=100, mutants=50, children=50, parents=25)  # once-for-all's, which is DetOFA's too (FACTS 4.4)
BREEDINGS: Mapping[str, Breeding] = {"code": CODE, "slides": SLIDES, "ofa": OFA}


def price_by_macs(num_classes: int) -> Callable[[History], Price]:
    """Operations of the whole detector, as a share of the base's."""

    def price(history: History) -> Price:
        whole = count(get_done(history, 0).arch, num_classes).macs
        return lambda arch: count(arch, num_classes).macs / whole

    return price


def price_by_latency(probes: Sequence[Probe], num_classes: int) -> Callable[[History], Price]:
    """The predicted latency, by all that was measured so far, as a share of the base's."""

    def price(history: History) -> Price:
        measured = (*probes, *list_measured(history))
        return fit_predictor(get_done(history, 0).arch, measured, num_classes).predict

    return price


def is_of_body(limit: float) -> bool:
    """Whether a limit is of the body's operations, as DetNAS has it, and not a share of the base's cost."""
    return limit >= LEAST_MACS


def count_body(arch: ArchSpec) -> float:
    """MACs of the body alone at 224x224, whatever the canvas (FACTS 2.2)."""
    return float(arch.body.count(CLASSIFIED).macs)


def name_limit(limit: float) -> str:
    """As the command line has it: "0.8" or "300M"."""
    return f"{limit / 1e6:.4g}M" if is_of_body(limit) else f"{limit:.3g}"


def describe_limit(limit: float) -> str:
    of = "MACs in the body" if is_of_body(limit) else "of the base's cost"
    return f"{name_limit(limit)} {of}"


def find_least(space: GeneSpace, price: Price) -> tuple[Subnet, float]:
    """The subnet that costs least, and what that is."""
    prices = [(price(space.arch(subnet)), subnet) for subnet in space.list_least()]
    least, subnet = min(prices, key=lambda entry: entry[0])
    return subnet, least


@dataclass(frozen=True)
class Evolution:
    """A population for each limit, one after the other; what is known of a subnet serves every limit.

    Attributes:
        limits: the most that a subnet may cost, as shares of the base's cost, or MACs of the body (`is_of_body`).
        price: what an architecture costs, as such a share, from what has been measured so far.
        generations: the first one included.
        guide: chooses each subnet that is judged from several that were bred alike; None judges the first that fits.
        alone: whether the guide ranks all generations, and no subnet is judged before the best of them is trained.
    """

    space: GeneSpace
    limits: tuple[float, ...]
    price: Callable[[History], Price]
    breeding: Breeding = CODE
    generations: int = 20
    guide: Guide | None = None
    alone: bool = False

    def ask(self, history: History, rng: Random) -> Proposal:
        for limit in () if self.alone else self.limits:
            own = [trial for trial in history if trial.proposal.aim == limit and trial.proposal.screens]
            if len(own) < self.breeding.population * self.generations:
                return self._breed(limit, own, history, self._find_price(limit, history), rng)
        owed = self._find_owed(history)
        if owed is None:
            raise SpaceExhausted(f"the best subnet within each of {len(self.limits)} limits was trained")
        return owed

    def conclude(self, history: History) -> Proposal | None:
        """The training of the best subnet of the next limit; None where all are trained, or none fits."""
        try:
            return self._find_owed(history)
        except SpaceExhausted:
            return None

    def _find_owed(self, history: History) -> Proposal | None:
        """As `conclude`; raises `SpaceExhausted` where nothing fits."""
        for limit in self.limits:
            price = self._find_price(limit, history)
            if not any(trial.proposal.aim == limit and not trial.proposal.screens for trial in history):
                subnet = self._find_best(limit, history, price)
                if subnet is not None:
                    return Proposal(None, (), f"the best within {describe_limit(limit)}", subnet=subnet, aim=limit)
        return None

    def _find_best(self, limit: float, history: History, price: Price) -> Subnet | None:
        if self.alone:
            assert self.guide is not None, "no one to rank"
            try:
                return self.guide.breed(price, limit, self.breeding, self.generations)
            except InputError as error:
                raise SpaceExhausted(f"{describe_limit(limit)}: {error}") from error
        best = self._rank(history, limit, price, 1)
        return best[0].proposal.subnet if best else None

    def _find_price(self, limit: float, history: History) -> Price:
        """What a limit is of."""
        return count_body if is_of_body(limit) else self.price(history)

    def _breed(self, limit: float, own: History, history: History, price: Price, rng: Random) -> Proposal:
        breeding = self.breeding
        generation, place = divmod(len(own), breeding.population)
        parents: list[Subnet] = []
        if generation:
            before = own[(generation - 1) * breeding.population : generation * breeding.population]
            ranked = self._rank(history if breeding.of_all else before, limit, price, breeding.parents)
            parents = [_get_subnet(trial) for trial in ranked]
        draw: Callable[[], Subnet]
        if parents and place < breeding.mutants:
            draw, kind = (lambda: self.space.redraw(rng.choice(parents), breeding.rate, rng)), "a mutant"
        elif parents and place < breeding.mutants + breeding.children:
            draw, kind = (lambda: self.space.crossover(rng.choice(parents), rng.choice(parents), rng)), "a child of two"
        else:
            draw, kind = (lambda: (self.guide or self.space).sample(rng)), "drawn"
        known = {trial.proposal.subnet for trial in history}
        least, lowest = find_least(self.space, price)

        def fits(subnet: Subnet) -> bool:
            return price(self.space.arch(subnet)) <= limit

        if lowest > limit:
            raise SpaceExhausted(
                f"no subnet costs at most {describe_limit(limit)}: the least is {describe_limit(lowest)}"
            )
        cap, guide, subnet = ATTEMPTS * breeding.population, self.guide, None
        found: list[Subnet] = []
        for _ in range(cap):
            drawn = draw()
            if drawn not in known and drawn not in found and (guide is None or guide.permits(drawn)) and fits(drawn):
                found.append(drawn)
                if len(found) == (guide.candidates if guide is not None else 1):
                    break
        if found:
            subnet = guide.choose(found) if guide is not None else found[0]
        else:  # what nothing permitted fits, others may
            repaired = (self._repair(self.space.sample(rng), least, fits, rng) for _ in range(cap))
            subnet = next((made for made in repaired if made not in known and fits(made)), None)
            kind = "drawn, and made smaller"
        if subnet is None:
            raise SpaceExhausted(f"{2 * cap} draws held no new subnet within {describe_limit(limit)}")
        note = f"limit {describe_limit(limit)}, generation {generation + 1}: {kind}"
        return Proposal(None, (), note, subnet=subnet, epochs=0, aim=limit)

    def _repair(self, subnet: Subnet, least: Subnet, fits: Callable[[Subnet], bool], rng: Random) -> Subnet:
        for _ in range(REPAIRS):
            if fits(subnet):
                break
            subnet = self.space.crossover(subnet, least, rng)
        return subnet

    def _rank(self, history: History, limit: float, price: Price, most: int) -> list[ScreenedTrial]:
        """The best of what was judged and is within a limit, the best first; of equals the first.

        Only as many are priced as it takes: that of all, anew for each subnet, would soon be most of the work.
        """
        looked = [
            trial for trial in history if isinstance(trial, ScreenedTrial) and trial.proposal.subnet is not None
        ]  # fmt: skip
        looked.sort(key=lambda trial: (-trial.ap, trial.number))
        return list(islice((trial for trial in looked if price(trial.arch) <= limit), most))


def _get_subnet(trial: ScreenedTrial | DoneTrial) -> Subnet:
    assert trial.proposal.subnet is not None
    return trial.proposal.subnet
