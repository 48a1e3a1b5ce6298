"""What every strategy of the catalogue must do, whatever it is that it searches."""

from __future__ import annotations

from random import Random

import pytest

from optimizer.arch.actions import ACTIONS, action_from_json, uniform_importance
from optimizer.arch.families import base_arch
from optimizer.arch.macs import count
from optimizer.arch.space import Space, contains
from optimizer.arch.spec import ArchSpec
from optimizer.search import STRATEGIES, build_strategy
from optimizer.search.base import Proposal, SearchStrategy, SpaceExhausted, Trial

SPACE = Space(sizes=((160, 120), (144, 104), (128, 96)), region_proposals=(100, 50))
BASE = base_arch("r18", (160, 120), region_proposals=100)


def apply_all(arch: ArchSpec, proposal: Proposal) -> ArchSpec:
    for action in proposal.actions:
        arch = action.apply(arch, uniform_importance(arch)).child
    return arch


def evaluate(history: list[Trial], proposal: Proposal) -> Trial:
    """A student without training: its score is made up of its operations and number."""
    number = len(history)
    parent = history[proposal.parent].arch if proposal.parent is not None else None
    arch = apply_all(parent, proposal) if parent is not None else BASE
    ratio = count(BASE, 3).macs / count(arch, 3).macs
    ap = Random(number).uniform(0.8, 1.0)
    return Trial(number, proposal, status="done", arch=arch, ap=ap, cost_ratio=ratio, score=ap * ratio**0.4)


def climb(strategy: SearchStrategy, trials: int, fail: frozenset[int] = frozenset()) -> list[Trial]:
    history = [Trial(0, Proposal(None), status="done", arch=BASE, ap=1.0, cost_ratio=1.0, score=1.0)]
    while len(history) <= trials:
        proposal = strategy.ask(tuple(history), Random(len(history)))
        if len(history) in fail:
            history.append(Trial(len(history), proposal, status="failed", error="made to fail"))
        else:
            history.append(evaluate(history, proposal))
    return history


@pytest.fixture(params=sorted(STRATEGIES))
def strategy(request: pytest.FixtureRequest) -> SearchStrategy:
    return build_strategy(request.param, SPACE, top_k=5, fixed_trials=0)


def test_every_proposal_is_legal_and_stays_in_the_space(strategy: SearchStrategy) -> None:
    for trial in climb(strategy, 40)[1:]:
        assert trial.arch is not None and contains(trial.arch, SPACE)


def test_equal_histories_and_random_numbers_give_equal_proposals(strategy: SearchStrategy) -> None:
    first, second = climb(strategy, 25), climb(strategy, 25)
    assert [trial.proposal for trial in first] == [trial.proposal for trial in second]


def test_nothing_is_proposed_twice(strategy: SearchStrategy) -> None:
    tried = [(trial.proposal.parent, trial.proposal.actions) for trial in climb(strategy, 40)]
    assert len(set(tried)) == len(tried)


def test_a_failed_trial_is_neither_a_parent_nor_tried_again(strategy: SearchStrategy) -> None:
    fail = frozenset({2, 3, 5, 8, 13})
    history = climb(strategy, 30, fail)
    assert not {trial.proposal.parent for trial in history} & fail
    failed = {(history[n].proposal.parent, history[n].proposal.actions) for n in fail}
    assert len(failed) == len(fail)
    later = [(trial.proposal.parent, trial.proposal.actions) for trial in history[14:]]
    assert not failed & set(later)


def test_every_kind_of_action_is_reached(strategy: SearchStrategy) -> None:
    kinds = {action.kind for trial in climb(strategy, 60) for action in trial.proposal.actions}
    assert kinds == set(ACTIONS)


def test_proposals_survive_a_round_through_json(strategy: SearchStrategy) -> None:
    for trial in climb(strategy, 20):
        for action in trial.proposal.actions:
            assert action_from_json(action.to_json()) == action


def test_an_empty_space_is_said_to_be_exhausted(strategy: SearchStrategy) -> None:
    nothing = Space(sizes=((160, 120),), region_proposals=(100,), actions=("resize",))
    history = (Trial(0, Proposal(None), status="done", arch=BASE, ap=1.0, cost_ratio=1.0, score=1.0),)
    narrow = type(strategy)(nothing)  # type: ignore[call-arg]
    with pytest.raises(SpaceExhausted):
        narrow.ask(history, Random(0))
