"""Search strategies and the loop that runs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import cast

from optimizer.arch.space import Space
from optimizer.arch.spec import ArchSpec
from optimizer.arch.subnets import SubnetSpace
from optimizer.errors import InputError
from optimizer.search.at_once import search_at_once
from optimizer.search.base import SearchStrategy
from optimizer.search.elastic_search import ElasticSearch
from optimizer.search.evolution import CODE, Breeding, Evolution, GeneSpace, Guide, price_by_latency, price_by_macs
from optimizer.search.hill_climb import HillClimb
from optimizer.search.loop import Search, draw_numbers, search, try_proposal
from optimizer.search.one_student import OneStudent
from optimizer.search.pareto_search import ParetoSearch
from optimizer.search.pipeline import Pipeline
from optimizer.search.predictor import Probe
from optimizer.search.random_search import RandomSearch
from optimizer.search.teachers import Teachers

__all__ = [
    "STRATEGIES",
    "Search",
    "StrategySettings",
    "build_strategy",
    "draw_numbers",
    "search",
    "search_at_once",
    "try_proposal",
]


@dataclass(frozen=True)
class StrategySettings:
    """What strategies are made from; what one has no use for it leaves aside.

    Attributes:
        trials: of the whole search.
        top_k: length of the list of best students; rank k weighs top_k + 1 - k.
        teachers: None trains without teachers.
        max_actions: most actions between a student and its parent, for methods that climb.
        pool: the members that "etp" searches.
        screened, rung_epochs, probes, num_classes, rounds: as in `ParetoSearch`.
        student: the one that "distill" trains.
        ceiling, most_params: as in `ParetoSearch`.
        limits, breeding, generations, guide, alone: as in `Evolution`. by_macs: whether cost is operations, and not
            measured.
    """

    space: Space
    trials: int
    top_k: int = 5
    fixed_trials: int = 0
    teachers: Teachers | None = None
    pool: SubnetSpace | None = None
    max_actions: int = 1
    screened: int = 8
    rung_epochs: tuple[int, ...] = (1, 2, 4)
    probes: tuple[Probe, ...] = ()
    num_classes: int = 80
    rounds: int | None = None
    student: ArchSpec | None = None
    limits: tuple[float, ...] = (0.8, 0.6)
    breeding: Breeding = CODE
    generations: int = 20
    by_macs: bool = False
    guide: Guide | None = None
    alone: bool = False
    ceiling: float = inf
    most_params: float = inf

    @property
    def rank_weights(self) -> tuple[float, ...]:
        return tuple(range(self.top_k, 0, -1))


def _build_etp(settings: StrategySettings) -> SearchStrategy:
    if settings.pool is None:
        raise InputError("etp searches in the teacher pool, and this run has none")
    return ElasticSearch(settings.pool, settings.rank_weights, teachers=settings.teachers)


def _build_distill(settings: StrategySettings) -> SearchStrategy:
    if settings.student is None:
        raise InputError("distill trains one student, and this run names none")
    return OneStudent(settings.student)


def _build_evolution(of: StrategySettings) -> SearchStrategy:
    if of.pool is None:
        raise InputError("evolution searches in a super-network, and this run has none")
    if of.alone and of.guide is None:
        raise InputError(
            "the super-network that was named was trained without a path filter, so none can rank its subnets: name "
            "another (--teacher-pool), or judge subnets on images (--ranker images)"
        )
    price = price_by_macs(of.num_classes) if of.by_macs else price_by_latency(of.probes, of.num_classes)
    return Evolution(cast(GeneSpace, of.pool), of.limits, price, of.breeding, of.generations, of.guide, of.alone)


STRATEGIES: dict[str, Callable[[StrategySettings], SearchStrategy]] = {
    "joint": lambda of: HillClimb(
        of.space, of.rank_weights, of.fixed_trials, teachers=of.teachers, max_actions=of.max_actions
    ),
    "etp": _build_etp,
    "pareto": lambda of: ParetoSearch(
        of.space,
        of.screened,
        of.rung_epochs,
        probes=of.probes,
        teachers=of.teachers,
        num_classes=of.num_classes,
        rounds=of.rounds,
        ceiling=of.ceiling,
        most_params=of.most_params,
    ),
    "detnas": _build_evolution,
    "detofa": _build_evolution,
    "distill": _build_distill,
    "pipeline": lambda of: Pipeline(of.space, of.trials, of.rank_weights, of.teachers, of.max_actions),
    "random": lambda of: RandomSearch(of.space, teachers=of.teachers),
}


def build_strategy(method: str, settings: StrategySettings) -> SearchStrategy:
    """The strategy of a run."""
    return STRATEGIES[method](settings)
