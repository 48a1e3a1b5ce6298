"""Search, then prune, then distil: the order, and who is taught."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from made_trials import make_done

from optimizer.arch.actions import ACTIONS, uniform_importance
from optimizer.arch.pool import ElasticSpace
from optimizer.arch.space import Space
from optimizer.search.base import FailedTrial, Proposal
from optimizer.search.pipeline import Pipeline
from optimizer.search.teachers import Teachers

SPACE = Space(sizes=((160, 120), (128, 96)), region_proposals=(100, 50))
PRUNING = {kind for kind in ACTIONS if kind.startswith("prune_")}
POOL = ElasticSpace("r18", ((1, 2),) * 4, (1.0, 1.25, 1.5), SPACE.sizes, region_proposals=100)
BASE = make_done()


def run(pipeline: Pipeline, trials: int) -> list[Proposal]:
    """The proposals; scores rise and fall."""
    history = [BASE]
    for number in range(1, trials + 1):
        proposal = pipeline.ask(tuple(history), Random(number))
        assert proposal.parent is not None
        arch = history[proposal.parent].arch
        for action in proposal.actions:
            arch = action.apply(arch, uniform_importance(arch)).child
        history.append(make_done(number, proposal, arch=arch, score=1 + (number * 7 % 10) / 100))
    return [trial.proposal for trial in history[1:]]


def kinds_of(proposals: list[Proposal]) -> set[str]:
    return {action.kind for proposal in proposals for action in proposal.actions}


@pytest.mark.parametrize(("trials", "parts"), [(30, (10, 10, 10)), (8, (2, 3, 3)), (4, (1, 1, 2)), (3, (1, 1, 1))])
def test_a_third_of_the_trials_each_in_this_order(trials: int, parts: tuple[int, int, int]) -> None:
    names = [proposal.note for proposal in run(Pipeline(SPACE, trials), trials)]
    expected = [name for name, count in zip(("search", "prune", "distil"), parts) for _ in range(count)]
    assert names == [f"pipeline: {name}" for name in expected]


def test_each_part_has_its_own_actions() -> None:
    proposals = run(Pipeline(SPACE, 45, teachers=Teachers(POOL)), 45)
    assert kinds_of(proposals[:15]) == set(ACTIONS) - PRUNING - {"choose_block"}, "which only a ShuffleNet takes"
    assert kinds_of(proposals[15:30]) <= PRUNING and len(kinds_of(proposals[15:30])) > 2
    assert all(len(proposal.actions) == 1 for proposal in proposals[:30])
    assert kinds_of(proposals[30:]) == set()


def test_what_prunes_and_what_is_of_the_canvas_is_said_by_the_actions_themselves() -> None:
    assert {kind for kind, action in ACTIONS.items() if action.prunes} == PRUNING
    assert {kind for kind, action in ACTIONS.items() if action.of_canvas} == {"resize", "set_region_proposals"}


def test_the_largest_teaches_in_the_last_part_alone() -> None:
    taught = [proposal.teacher for proposal in run(Pipeline(SPACE, 30, teachers=Teachers(POOL)), 30)]
    assert taught == [None] * 20 + [POOL.largest()] * 10
    assert {proposal.teacher for proposal in run(Pipeline(SPACE, 9), 9)} == {None}


def test_the_last_part_trains_the_best_student_on() -> None:
    history = (
        BASE,
        make_done(1, score=1.2),
        FailedTrial(2, Proposal(0), "made to fail"),
    )
    proposal = Pipeline(SPACE, 3, teachers=Teachers(POOL)).ask(history, Random(0))
    assert (proposal.parent, proposal.actions, proposal.teacher) == (1, (), POOL.largest())


def test_a_part_without_a_legal_action_gives_its_trials_to_the_next() -> None:
    pruning = replace(SPACE, actions=("prune_channels", "prune_layer"))
    notes = [proposal.note for proposal in run(Pipeline(pruning, 9), 9)]
    assert notes == ["pipeline: prune"] * 6 + ["pipeline: distil"] * 3
    alone = replace(SPACE, sizes=((160, 120),), actions=("resize",))
    notes = [proposal.note for proposal in run(Pipeline(alone, 3, teachers=Teachers(POOL)), 3)]
    assert notes == ["pipeline: distil"] * 3


def test_without_any_action_only_the_last_part_is_left() -> None:
    proposals = run(Pipeline(replace(SPACE, actions=()), 6, teachers=Teachers(POOL)), 6)
    assert {(proposal.actions, proposal.teacher) for proposal in proposals} == {((), POOL.largest())}
