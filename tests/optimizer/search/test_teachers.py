"""Which teacher a student gets (FACTS 1.5): the largest at first, then moves in the pool beside the student's."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from made_trials import make_done

from optimizer.arch.pool import ElasticSpace, ElasticSubnet
from optimizer.arch.space import Space
from optimizer.search.base import Proposal, SpaceExhausted, Trial
from optimizer.search.hill_climb import HillClimb
from optimizer.search.random_search import RandomSearch
from optimizer.search.teachers import Teachers

SPACE = Space(sizes=((160, 120), (128, 96)), region_proposals=(100, 50))
POOL = ElasticSpace("r18", ((1, 2),) * 4, (1.0, 1.25, 1.5), SPACE.sizes, region_proposals=100)
SMALL = ElasticSpace("r18", ((1, 2), (2,), (2,), (2,)), (1.0,), ((160, 120),))  # two members
LARGEST = POOL.largest()
BASE = make_done()


def taught_by(teacher: ElasticSubnet | None, number: int = 1, score: float = 2.0) -> Trial:
    return make_done(number, Proposal(0, (), teacher=teacher), score=score)


def go_on(strategy: HillClimb, trials: int, score: float = 1.0) -> list[Trial]:
    history: list[Trial] = [BASE]
    for number in range(1, trials + 1):
        proposal = strategy.ask(tuple(history), Random(number))
        history.append(make_done(number, proposal, score=score + number / 100))
    return history


def test_the_first_teacher_is_the_largest() -> None:
    strategy = HillClimb(SPACE, teachers=Teachers(POOL))
    assert {strategy.ask((BASE,), Random(seed)).teacher for seed in range(40)} == {LARGEST}
    fixed_student = HillClimb(SPACE, fixed_trials=5, teachers=Teachers(POOL))
    assert {fixed_student.ask((BASE,), Random(seed)).teacher for seed in range(40)} == {LARGEST}


def test_a_fixed_teacher_never_moves() -> None:
    teachers = Teachers(POOL, fixed=True, p_move=1.0, p_fresh=1.0)
    assert {teachers.move(LARGEST, Random(seed)) for seed in range(40)} == {LARGEST}
    assert {teachers.keep_or_move(LARGEST, Random(seed)) for seed in range(40)} == {LARGEST}
    history = go_on(HillClimb(SPACE, fixed_trials=5, teachers=teachers), 20)
    assert {trial.proposal.teacher for trial in history[1:]} == {LARGEST}


@pytest.mark.parametrize("p_fresh", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("pool", [POOL, SMALL], ids=["many members", "two members"])
def test_a_move_leads_to_another_member(pool: ElasticSpace, p_fresh: float) -> None:
    teachers, teacher = Teachers(pool, p_fresh=p_fresh), pool.largest()
    for seed in range(60):
        moved = teachers.move(teacher, Random(seed))
        assert moved != teacher and pool.contains(moved)
        teacher = moved


def test_a_fresh_draw_reaches_far_and_a_mutation_only_next_door() -> None:
    def distance(member: ElasticSubnet) -> int:
        pairs = zip(zip(member.depths, member.widths), zip(LARGEST.depths, LARGEST.widths))
        return sum(one != other for one, other in pairs) + (member.size != LARGEST.size)

    mutated = {distance(Teachers(POOL, p_fresh=0.0).move(LARGEST, Random(seed))) for seed in range(60)}
    drawn = {distance(Teachers(POOL, p_fresh=1.0).move(LARGEST, Random(seed))) for seed in range(60)}
    assert mutated == {1} and max(drawn) >= 4


def test_the_teacher_of_a_pool_of_one_stays() -> None:
    alone = ElasticSpace("r18", ((2,),) * 4, (1.0,), ((160, 120),))
    assert Teachers(alone).move(alone.largest(), Random(0)) == alone.largest()


def test_while_the_student_is_fixed_its_teacher_moves() -> None:
    strategy = HillClimb(SPACE, rank_weights=(1,), fixed_trials=5, teachers=Teachers(POOL))
    history = go_on(strategy, 5)  # each trial is better than the one before, so it is the next one's parent
    assert [trial.proposal.actions for trial in history] == [()] * 6
    assert [trial.proposal.parent for trial in history] == [None, 0, 1, 2, 3, 4]
    teachers = [trial.proposal.teacher for trial in history[1:]]
    assert teachers[0] == LARGEST
    assert all(before != after for before, after in pairwise(teachers)), "one of the two has to change"
    assert strategy.ask(tuple(history), Random(6)).actions != ()


def test_beside_a_moving_student_the_teacher_moves_as_often_as_said() -> None:
    other = POOL.smallest()
    history = (BASE, taught_by(other))
    for p_move in (0.0, 0.5, 1.0):
        strategy = HillClimb(SPACE, rank_weights=(1,), teachers=Teachers(POOL, p_move=p_move))
        proposals = [strategy.ask(history, Random(seed)) for seed in range(150)]
        assert all(proposal.actions and proposal.parent == 1 for proposal in proposals)
        share = sum(proposal.teacher != other for proposal in proposals) / len(proposals)
        assert abs(share - p_move) < 0.12


@pytest.mark.parametrize("p_move", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("score", [2.0, 0.5], ids=["an untaught student", "the base"])
def test_after_the_first_trial_every_childs_teacher_keeps_or_moves(p_move: float, score: float) -> None:
    """A parent without a teacher, such as the base, counts as taught by the largest."""
    strategy = HillClimb(SPACE, rank_weights=(1,), teachers=Teachers(POOL, p_move=p_move))
    proposals = [strategy.ask((BASE, taught_by(None, score=score)), Random(seed)) for seed in range(150)]
    assert {proposal.parent for proposal in proposals} == {1 if score > 1 else 0}
    share = sum(proposal.teacher != LARGEST for proposal in proposals) / len(proposals)
    assert abs(share - p_move) < 0.12


def test_the_teacher_is_always_in_the_pool() -> None:
    history = go_on(HillClimb(SPACE, fixed_trials=5, teachers=Teachers(POOL)), 40)
    teachers = [trial.proposal.teacher for trial in history[1:]]
    assert all(teacher is not None and POOL.contains(teacher) for teacher in teachers)
    assert len(set(teachers)) > 10


def test_a_joint_search_reaches_all_the_papers_actions() -> None:
    kinds = ("prune_channels", "prune_layer", "add_layer", "rearrange")
    strategy = HillClimb(replace(SPACE, actions=kinds), teachers=Teachers(POOL))
    drawn = [strategy.ask((BASE,), Random(seed)).actions for seed in range(60)]
    assert {actions[0].kind for actions in drawn} == set(kinds) and {len(actions) for actions in drawn} == {1}


@pytest.mark.parametrize(
    "strategy",
    [
        HillClimb(replace(SPACE, actions=()), teachers=Teachers(POOL)),
        HillClimb(SPACE, fixed_trials=30, teachers=Teachers(POOL)),
    ],
    ids=["no actions", "fixed at first"],
)
def test_a_student_that_stays_as_it_is_is_trained_on_by_moving_teachers(strategy: HillClimb) -> None:
    history = go_on(strategy, 30, score=0.9)  # the base is among the best for a while, and a parent again
    assert all(trial.proposal.actions == () for trial in history)
    assert len({trial.proposal.teacher for trial in history[1:]}) > 10
    assert [trial.proposal.parent for trial in history].count(0) > 2
    for trial in history[2:]:
        parent = history[trial.proposal.parent or 0]
        assert trial.proposal.teacher != (parent.proposal.teacher or LARGEST)


def test_a_space_with_no_legal_action_left_says_so_at_once() -> None:
    nothing = replace(SPACE, sizes=((160, 120),), actions=("resize",))
    strategy = HillClimb(nothing, teachers=Teachers(POOL))
    with pytest.raises(SpaceExhausted, match="every legal action on the 1 best students has been tried"):
        strategy.ask((BASE,), Random(0))


def test_a_random_search_draws_any_teacher_and_a_fixed_one_is_the_largest() -> None:
    drawn = {RandomSearch(SPACE, teachers=Teachers(POOL)).ask((BASE,), Random(seed)).teacher for seed in range(40)}
    assert len(drawn) > 20 and all(teacher is not None and POOL.contains(teacher) for teacher in drawn)
    fixed = RandomSearch(SPACE, teachers=Teachers(POOL, fixed=True))
    assert {fixed.ask((BASE,), Random(seed)).teacher for seed in range(20)} == {LARGEST}
    assert RandomSearch(SPACE).ask((BASE,), Random(0)).teacher is None


def test_a_fine_tuned_student_hands_its_teacher_on() -> None:
    other = POOL.smallest()
    tuned = make_done(2, Proposal(1, (), teacher=other, finetune=True), score=3.0)
    strategy = HillClimb(SPACE, rank_weights=(1,), teachers=Teachers(POOL, p_move=0.0))
    proposal = strategy.ask((BASE, taught_by(LARGEST), tuned), Random(0))
    assert proposal.parent == 2 and proposal.teacher == other and not proposal.finetune
