"""Search in the teacher pool itself: draws at first, then mutations of the best."""

from __future__ import annotations

from random import Random

import pytest
from made_trials import make_done

from optimizer.arch.pool import ElasticSpace, ElasticSubnet
from optimizer.search.base import FailedTrial, Proposal, SpaceExhausted, Trial
from optimizer.search.elastic_search import ElasticSearch
from optimizer.search.teachers import Teachers

POOL = ElasticSpace("r18", ((1, 2),) * 4, (1.0, 1.25, 1.5), ((160, 120), (128, 96)))
BASE = make_done()


def member(number: int, subnet: ElasticSubnet, score: float | None) -> Trial:
    proposal = Proposal(None, subnet=subnet)
    return FailedTrial(number, proposal, "made to fail") if score is None else make_done(number, proposal, score=score)


def draw(count: int) -> list[ElasticSubnet]:
    rng, drawn = Random(0), []
    while len(drawn) < count:
        drawn += [subnet] if (subnet := POOL.sample(rng)) not in drawn else []
    return drawn


def distance(one: ElasticSubnet, other: ElasticSubnet) -> int:
    """Stages that differ, and the canvas."""
    stages = zip(zip(one.depths, one.widths), zip(other.depths, other.widths))
    return sum(a != b for a, b in stages) + (one.size != other.size)


def test_the_first_students_are_drawn_from_the_whole_pool() -> None:
    strategy = ElasticSearch(POOL, drawn=3)
    for history in ((BASE,), (BASE, *(member(n + 1, s, 1.0) for n, s in enumerate(draw(2))))):
        proposals = [strategy.ask(history, Random(seed)) for seed in range(60)]
        assert len({proposal.subnet for proposal in proposals}) > 40
        assert {proposal.note for proposal in proposals} == {"drawn from the pool"}


def test_then_the_best_are_mutated() -> None:
    one, best, failed = draw(3)
    history = (BASE, member(1, one, 0.5), member(2, best, 2.0), member(3, failed, None))
    strategy = ElasticSearch(POOL, rank_weights=(1,))
    for seed in range(40):
        proposal = strategy.ask(history, Random(seed))
        assert proposal.note == "mutation of trial 2" and proposal.subnet is not None
        assert distance(proposal.subnet, best) == 1 and POOL.contains(proposal.subnet)
        assert proposal.parent is None and proposal.actions == ()


def test_the_ranks_weigh() -> None:
    subnets = draw(3)
    history = (BASE, *(member(number + 1, subnet, 1.0 + number) for number, subnet in enumerate(subnets)))
    notes = [ElasticSearch(POOL, rank_weights=(3, 1)).ask(history, Random(seed)).note for seed in range(200)]
    assert set(notes) == {"mutation of trial 3", "mutation of trial 2"}, "the third and the base are not of the list"
    assert abs(notes.count("mutation of trial 3") / 200 - 0.75) < 0.1


def test_while_all_have_failed_members_are_drawn() -> None:
    history = (BASE, *(member(number + 1, subnet, None) for number, subnet in enumerate(draw(4))))
    assert ElasticSearch(POOL).ask(history, Random(0)).note == "drawn from the pool"


def test_no_member_is_tried_twice() -> None:
    small = ElasticSpace("r18", ((1, 2), (1, 2), (2,), (2,)), (1.0,), ((64, 64),))
    history: list[Trial] = [BASE]
    for number in range(1, 5):
        subnet = ElasticSearch(small).ask(tuple(history), Random(number)).subnet
        assert subnet is not None
        history.append(member(number, subnet, None if number == 2 else 1.0))
    assert len({trial.proposal.subnet for trial in history[1:]}) == small.count() == 4
    with pytest.raises(SpaceExhausted, match="100 draws from the teacher pool held none that is new"):
        ElasticSearch(small).ask(tuple(history), Random(5))


def test_the_largest_teaches_if_anybody_does() -> None:
    assert ElasticSearch(POOL).ask((BASE,), Random(0)).teacher is None
    for fixed in (False, True):
        strategy = ElasticSearch(POOL, teachers=Teachers(POOL, fixed))
        assert {strategy.ask((BASE,), Random(seed)).teacher for seed in range(10)} == {POOL.largest()}


def test_the_base_and_fine_tuned_students_are_no_members() -> None:
    tuned = make_done(1, Proposal(0, (), finetune=True), score=5.0)
    assert ElasticSearch(POOL, drawn=1).ask((BASE, tuned), Random(0)).note == "drawn from the pool"
