"""Rounds, promotion and what comes next; and that it all follows from the history."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import pytest
from made_trials import make_done

from optimizer.arch import ArchSpec, Space, base_arch, count, uniform_importance
from optimizer.search.base import (
    DoneTrial,
    FailedTrial,
    PendingTrial,
    Proposal,
    ScreenedTrial,
    SpaceExhausted,
    Trial,
    get_done,
    list_done,
    list_screened,
)
from optimizer.search.loop import Search, search
from optimizer.search.members import list_members, select_last
from optimizer.search.pareto import hypervolume
from optimizer.search.pareto_search import ParetoSearch, Turn
from optimizer.search.predictor import fit_predictor, list_measured
from optimizer.search.sizing import apply_chain
from optimizer.seeds import derive_seed

BASE = base_arch("r18", (256, 192), region_proposals=100)
SPACE = Space(sizes=((256, 192), (224, 168), (192, 144)), region_proposals=(100, 50))
STRATEGY = ParetoSearch(SPACE, screened=3)


def evaluate(history: list[Trial], number: int, proposal: Proposal, base: ArchSpec = BASE) -> Trial:
    """A student whose AP falls with its operations; one screened is worse, and hashes decide between siblings."""
    assert proposal.parent is not None
    arch = get_done(history, proposal.parent).arch
    for action in proposal.actions:
        arch = action.apply(arch, uniform_importance(arch)).child
    share = count(arch).macs / count(base).macs
    luck = Random(derive_seed(0, arch.arch_id, 0)).uniform(-0.02, 0.02)
    if proposal.screens:
        return ScreenedTrial(number, proposal, arch, 0.3 + 0.3 * share + luck, 0.8, count(arch), 3.0)
    ap = 0.5 + 0.1 * share + luck
    return make_done(number, proposal, arch=arch, ap=ap, cost_ratio=1 / (0.1 + 0.9 * share))


def run(strategy: ParetoSearch, length: int, base: ArchSpec = BASE, fail: frozenset[int] = frozenset()) -> list[Trial]:
    history: list[Trial] = [make_done(arch=base, ap=0.6)]
    while len(history) < length:
        number = len(history)
        proposal = strategy.ask(tuple(history), Random(derive_seed(1, "trial", number)))
        failed = FailedTrial(number, proposal, "made to fail")
        history.append(failed if number in fail else evaluate(history, number, proposal, base))
    return history


def test_a_round_screens_and_then_trains_the_best() -> None:
    history = run(STRATEGY, 13)
    assert [trial.proposal.screens for trial in history[1:]] == [True, True, True, False] * 3
    for start in (1, 5, 9):
        looks, trained = list_screened(history[start : start + 3]), history[start + 3]
        assert {(t.proposal.parent, t.proposal.aim) for t in looks} == {(trained.proposal.parent, trained.proposal.aim)}
        best = max(trial.ap for trial in looks)
        ties = [trial for trial in looks if trial.ap >= best * (1 - STRATEGY.tie)]
        assert trained.proposal.actions in [trial.proposal.actions for trial in ties]
        assert trained.proposal.epochs == STRATEGY.rung_epochs[0]


def test_of_equal_students_the_fastest_is_trained() -> None:
    history = run(STRATEGY, 4)
    equal = [replace(trial, ap=0.5) if isinstance(trial, ScreenedTrial) else trial for trial in history]
    proposal = STRATEGY.ask(tuple(equal), Random(0))
    predictor = fit_predictor(BASE, ())
    fastest = min(list_screened(equal), key=lambda trial: predictor.predict(trial.arch))
    assert proposal.actions == fastest.proposal.actions and not proposal.screens


def test_the_first_rounds_go_down_from_student_to_student() -> None:
    trained = list_done(run(STRATEGY, 17))[1:]
    aims = [trial.proposal.aim for trial in trained]
    assert aims == [round(STRATEGY.sweep**step, 3) for step in (1, 2, 3, 4)]
    assert [trial.proposal.parent for trial in trained] == [0, *(trial.number for trial in trained[:-1])]


def test_then_members_are_trained_further_and_bands_filled() -> None:
    history = run(STRATEGY, 60)
    further = [trial for trial in list_done(history)[1:] if not trial.proposal.actions]
    assert further
    for trial in further:
        assert trial.proposal.parent not in (0, None) and trial.proposal.epochs in STRATEGY.rung_epochs[1:]
    bands = {round(STRATEGY.band**step, 3) for step in range(1, 8)}
    assert {trial.proposal.aim for trial in history[1:] if trial.proposal.actions} & bands


def test_without_screening_a_round_is_one_training() -> None:
    history = run(replace(STRATEGY, screened=0), 8)
    assert not list_screened(history) and len(list_done(history)) == 8


@pytest.mark.parametrize("base", ["r18", "r50"])
@pytest.mark.parametrize("detector", ["faster_rcnn", "retinanet", "centernet"])
def test_predicted_latencies_are_those_aimed_at(base: str, detector: str) -> None:
    arch = base_arch(base, (256, 192), detector)
    proposals = 300 if arch.head.region_proposals else None
    arch = replace(arch, head=arch.head.propose(proposals)) if proposals else arch
    space = replace(SPACE, region_proposals=(300, 100))
    history = run(replace(STRATEGY, space=space), 6, arch)
    for number, trial in enumerate(history):
        if trial.proposal.aim is not None and trial.proposal.screens:
            predictor = fit_predictor(arch, list_measured(history[:number]))
            assert trial.proposal.parent is not None
            child = apply_chain(get_done(history, trial.proposal.parent).arch, trial.proposal.actions)
            assert child is not None
            assert predictor.predict(child) == pytest.approx(trial.proposal.aim, rel=0.03)
            kinds = [action.kind for action in trial.proposal.actions]
            assert len(set(kinds)) == len(kinds)


def test_failed_trials_are_neither_parents_nor_tried_again() -> None:
    fail = frozenset({1, 4, 7, 8, 9, 15, 16, 21})
    history = run(STRATEGY, 26, fail=fail)
    assert not {trial.proposal.parent for trial in history} & fail
    seen = [(t.proposal.parent, t.proposal.actions, t.proposal.screens) for t in history[1:]]
    assert len(set(seen)) == len(seen)


def test_where_the_best_cannot_be_trained_the_next_best_is() -> None:
    history = run(STRATEGY, 6, fail=frozenset({4}))
    assert not history[4].proposal.screens and not history[5].proposal.screens
    assert history[4].proposal.aim == history[5].proposal.aim
    assert history[4].proposal.actions != history[5].proposal.actions


@pytest.mark.parametrize("stop", [2, 5, 11])
def test_killed_anywhere_and_resumed_it_proposes_the_same(stop: int) -> None:
    history: list[Trial] = [make_done(arch=BASE, ap=0.6)]
    killed: list[int] = []

    def record(trial: Trial) -> None:
        history[trial.number :] = [trial]

    def try_proposal(number: int, proposal: Proposal) -> DoneTrial | ScreenedTrial:
        if number == stop and not killed:
            killed.append(number)
            raise KeyboardInterrupt
        trial = evaluate(history, number, proposal)
        assert isinstance(trial, DoneTrial | ScreenedTrial)
        return trial

    def go() -> None:
        search(Search(STRATEGY, lambda: tuple(history), record, 1, 99, lambda: len(history) < 16), try_proposal)

    with pytest.raises(KeyboardInterrupt):
        go()
    assert isinstance(history[stop], PendingTrial)
    go()
    assert [trial.proposal for trial in history] == [trial.proposal for trial in run(STRATEGY, 16)]


def test_with_canvases_alone_each_is_tried() -> None:
    strategy = replace(STRATEGY, space=replace(SPACE, actions=("resize",)), sweep=0.85)
    history = run(strategy, 5)
    sizes = {trial.arch.input_size for trial in history if isinstance(trial, DoneTrial)}
    assert sizes == set(SPACE.sizes)


def test_a_single_canvas_leaves_the_other_actions() -> None:
    strategy = replace(STRATEGY, space=replace(SPACE, sizes=((256, 192),)))
    for trial in list_done(run(strategy, 20)):
        assert trial.arch.input_size == (256, 192)


def test_a_space_without_anything_faster_says_so() -> None:
    nothing = Space(sizes=((256, 192),), region_proposals=(100,), actions=("resize", "set_region_proposals"))
    with pytest.raises(SpaceExhausted, match="no action of the search space can make the base faster"):
        replace(STRATEGY, space=nothing).ask((make_done(arch=BASE),), Random(0))


def test_a_search_that_has_seen_everything_says_so() -> None:
    strategy = replace(STRATEGY, space=replace(SPACE, actions=("resize",)))
    with pytest.raises(SpaceExhausted, match="no new student"):
        run(strategy, 200)


def test_a_member_counts_the_trainings_of_its_architecture_and_pools_their_latencies() -> None:
    small = BASE.with_size(192, 144)
    child = make_done(1, Proposal(0, (), epochs=1), arch=small, ap=0.3, cost_ratio=2.0)
    edited = replace(child, proposal=Proposal(0, tuple(run(STRATEGY, 2)[1].proposal.actions)))
    further = make_done(2, Proposal(1, ()), arch=small, ap=0.39, cost_ratio=1.9)
    members = list_members((make_done(arch=BASE), edited, further))
    assert [(member.trial.number, member.rung) for member in members] == [(2, 2), (0, 0)]
    assert members[0].latency == pytest.approx(math.sqrt(1 / 2.0 / 1.9))


def test_the_last_training_is_for_members_all_over_the_front() -> None:
    points = [(0.55, 0.9), (0.549, 0.88), (0.54, 0.7), (0.539, 0.69), (0.5, 0.5), (0.45, 0.35), (0.05, 0.345)]
    front = [make_done(n, ap=ap, cost_ratio=1 / share) for n, (ap, share) in enumerate(points, 1)]
    chosen = select_last(front, 4)
    assert [trial.number for trial in chosen] == [6, 5, 4, 2]
    assert [t.number for t in select_last(front[::-1], 4)] == [t.number for t in chosen]
    whole = hypervolume(points)
    assert hypervolume([(t.ap, 1 / t.cost_ratio) for t in chosen]) > 0.98 * whole
    assert select_last([make_done()], 3) == select_last([], 3) == []
    assert len(select_last(front, 20)) == 7


@pytest.mark.parametrize(
    ("rounds", "step"), [(None, 0.75), (1, 0.55), (2, 0.55), (3, 0.2 ** (1 / 3)), (4, 0.2 ** (1 / 4)), (9, 0.75)]
)
def test_few_rounds_take_longer_steps(rounds: int | None, step: float) -> None:
    """So that a short search comes near the floor of 0.2 as well; no step is longer than to 0.55."""
    strategy = replace(STRATEGY, rounds=rounds)
    assert (strategy.floor, strategy.sweep) == (0.2, 0.75)
    assert strategy.step == pytest.approx(step)
    aims = Turn(strategy, [make_done()], Random(0)).list_sweep()
    assert aims and aims == [round(step**number, 3) for number in range(1, len(aims) + 1)] and aims[-1] >= 0.2


@pytest.mark.parametrize("ceiling", [0.9, 0.5, 0.15])
@pytest.mark.parametrize("rounds", [None, 2, 20])
def test_all_aims_are_below_what_is_asked_for_and_reach_below_it(ceiling: float, rounds: int | None) -> None:
    strategy = replace(STRATEGY, ceiling=ceiling, rounds=rounds)
    for aims in (strategy.list_aims(strategy.step), strategy.list_aims(strategy.band)):
        assert (
            aims and max(aims) < ceiling and min(aims) >= strategy.least - 0.001 and aims == sorted(aims, reverse=True)
        )
    assert strategy.least <= min(STRATEGY.floor, ceiling)


def test_a_search_for_fast_students_tries_no_slow_ones() -> None:
    history = run(replace(STRATEGY, ceiling=0.5), 16)
    aims = [trial.proposal.aim for trial in history if trial.proposal.aim is not None]
    assert aims and max(aims) < 0.5
    predictor = fit_predictor(BASE, list_measured(history))
    assert all(predictor.predict(trial.arch) < 0.55 for trial in list_done(history)[1:])


def test_a_child_for_the_last_training_is_fast_enough_too() -> None:
    proposal = replace(STRATEGY, ceiling=0.4).ask_faster((make_done(arch=BASE, ap=0.6),), Random(0), 1)
    assert proposal is not None and proposal.aim is not None and 0.35 < proposal.aim < 0.4


def test_children_that_are_too_large_are_not_looked_at() -> None:
    most = 0.4 * count(BASE).params
    history = run(replace(STRATEGY, most_params=most), 12)
    edited = [trial.proposal for trial in history if trial.proposal.actions]
    children = [apply_chain(get_done(history, of.parent or 0).arch, of.actions) for of in edited]
    assert len(children) > 6 and all(child is not None and count(child).params <= most for child in children)


def test_three_children_of_a_base_come_down_to_the_floor() -> None:
    history = (make_done(arch=BASE, ap=0.6),)
    asked = [STRATEGY.ask_faster(history, Random(0), steps) for steps in (1, 2, 3, 4)]
    assert [proposal and proposal.aim for proposal in asked] == [0.449, 0.301, 0.202, None]


def test_children_that_were_looked_at_are_not_drawn_again_by_other_actions() -> None:
    small = base_arch("r18", (128, 96), region_proposals=100)
    strategy = ParetoSearch(Space(sizes=((128, 96), (112, 88)), region_proposals=(100, 50)))
    history: list[Trial] = [make_done(arch=small, ap=0.6)]
    for seed in range(40):
        proposal = strategy.ask_faster(tuple(history), Random(seed), 3)
        assert proposal is not None
        history.append(evaluate(history, len(history), proposal, small))
    children = {apply_chain(small, trial.proposal.actions) for trial in list_screened(history)}
    assert len(children) == 40
