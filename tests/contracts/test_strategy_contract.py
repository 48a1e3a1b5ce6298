"""What every strategy of the catalogue must do, whatever it is that it searches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from made_trials import make_done

from optimizer.arch.actions import ACTIONS, action_from_json, uniform_importance
from optimizer.arch.families import base_arch
from optimizer.arch.macs import count
from optimizer.arch.ofa_space import OfaSpace, OfaSubnet
from optimizer.arch.paths import PathSubnet, PathSubnets
from optimizer.arch.pool import ElasticSpace, ElasticSubnet
from optimizer.arch.space import Space, contains
from optimizer.arch.spec import ArchSpec
from optimizer.arch.subnets import subnet_from_json
from optimizer.errors import InputError
from optimizer.search import STRATEGIES, StrategySettings, build_strategy
from optimizer.search.base import (
    DoneTrial,
    FailedTrial,
    Proposal,
    ScreenedTrial,
    SpaceExhausted,
    Trial,
    get_done,
    list_done,
)
from optimizer.search.evolution import Breeding
from optimizer.search.teachers import Teachers

SPACE = Space(sizes=((160, 120), (144, 104), (128, 96)), region_proposals=(100, 50))
POOL = ElasticSpace("r18", ((1, 2),) * 4, (1.0, 1.25, 1.5), SPACE.sizes, region_proposals=100)
OFA = OfaSpace("ofa_resnet50", SPACE.sizes, region_proposals=100)
PATHS = PathSubnets("shufflenetv2_20", SPACE.sizes, region_proposals=100)
TEACHERS = Teachers(POOL)
BASE = base_arch("r18", (160, 120), region_proposals=100)
FIRST = make_done(arch=BASE, ap=1.0)
PATH_FIRST = make_done(arch=base_arch("shufflenetv2_20", (160, 120), region_proposals=100), ap=1.0)
CENTRES_FIRST = make_done(arch=base_arch("r18", (160, 120), "centernet"), ap=1.0)
MORPHING = {
    "joint",
    "pareto",
    "pipeline",
    "random",
}  # edit a parent; "etp" takes its students from the pool as they are
ENDLESS = MORPHING | {"etp"}  # find something new for a long time; "distill" has one student
BRED = {"detnas": PATHS, "detofa": OFA}  # evolution has an end


def build_arch(history: Sequence[Trial], proposal: Proposal) -> ArchSpec:
    if proposal.arch is not None:
        assert proposal.starts_anew and proposal.actions == ()
        return proposal.arch
    if proposal.subnet is not None:
        assert proposal.parent is None and proposal.actions == ()
        spaces = {PathSubnet: PATHS, OfaSubnet: OFA, ElasticSubnet: POOL}
        return spaces[type(proposal.subnet)].arch(proposal.subnet)
    assert proposal.parent is not None
    arch = get_done(history, proposal.parent).arch
    for action in proposal.actions:
        arch = action.apply(arch, uniform_importance(arch)).child
    return arch


def evaluate(history: Sequence[Trial], proposal: Proposal) -> DoneTrial | ScreenedTrial:
    """A student without training: its score is made up of its operations and number."""
    number = len(history)
    arch = build_arch(history, proposal)
    ratio = count(BASE, 3).macs / count(arch, 3).macs
    ap = Random(number).uniform(0.8, 1.0)
    if proposal.screens:
        return ScreenedTrial(number, proposal, arch, ap, ap, count(arch, 3), seconds=3.0)
    return make_done(number, proposal, arch=arch, ap=ap, cost_ratio=ratio, score=ap * ratio**0.4)


def make_settings(trials: int, teachers: Teachers | None = None, space: Space = SPACE) -> StrategySettings:
    return StrategySettings(
        space, trials, top_k=5, fixed_trials=0, teachers=teachers, pool=POOL, student=BASE,
        breeding=Breeding(8, 3, 3, 3),
    )  # fmt: skip


def climb(
    method: str,
    trials: int,
    fail: frozenset[int] = frozenset(),
    teachers: Teachers | None = TEACHERS,
    first: DoneTrial = FIRST,
) -> list[Trial]:
    """As many trials as are asked for, or all that there are of a method that comes to an end."""
    settings = make_settings(trials, teachers)
    strategy = build_strategy(method, replace(settings, pool=BRED[method]) if method in BRED else settings)
    history: list[Trial] = [first]
    while len(history) <= trials:
        try:
            proposal = strategy.ask(tuple(history), Random(len(history)))
        except SpaceExhausted:
            assert method not in ENDLESS
            break
        if len(history) in fail:
            history.append(FailedTrial(len(history), proposal, "made to fail"))
        else:
            history.append(evaluate(history, proposal))
    return history


def list_tried(method: str, history: list[Trial]) -> list[tuple[int | None, object]]:
    """What must not be proposed twice. A pipeline's last part trains the best student on, again and again.

    A student that was screened may be trained.
    """
    if method == "etp":
        return [(None, trial.proposal.subnet) for trial in history[1:]]
    tried = [trial.proposal for trial in history[1:] if method != "pipeline" or trial.proposal.actions]
    return [(proposal.parent, (proposal.actions, proposal.screens)) for proposal in tried]


@pytest.fixture(params=sorted(STRATEGIES))
def method(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=sorted(ENDLESS))
def endless(request: pytest.FixtureRequest) -> str:
    return request.param


def test_every_method_searches_on_or_has_one_student() -> None:
    assert set(STRATEGIES) == ENDLESS | {*BRED, "distill"}


def test_every_proposal_is_legal_and_stays_in_the_space(method: str) -> None:
    for trial in list_done(climb(method, 40))[1:]:
        assert contains(trial.arch, SPACE)
        subnet = trial.proposal.subnet
        pool = PATHS if isinstance(subnet, PathSubnet) else POOL
        assert subnet is None or pool.contains(subnet)


def test_equal_histories_and_random_numbers_give_equal_proposals(method: str) -> None:
    first, second = climb(method, 25), climb(method, 25)
    assert [trial.proposal for trial in first] == [trial.proposal for trial in second]


def test_nothing_is_proposed_twice(endless: str) -> None:
    tried = list_tried(endless, climb(endless, 40))
    assert len(set(tried)) == len(tried) >= 26


def test_a_failed_trial_is_neither_a_parent_nor_tried_again(endless: str) -> None:
    fail = frozenset({2, 3, 5, 8, 13})
    history = climb(endless, 30, fail)
    assert not {trial.proposal.parent for trial in history} & fail
    failed = set(list_tried(endless, [FIRST, *(history[number] for number in fail)]))
    assert len(failed) == len(fail)
    assert not failed & set(list_tried(endless, [FIRST, *history[14:]]))


def test_every_kind_of_action_is_reached(method: str) -> None:
    """On some base: blocks are chosen where there is a choice, channels and parts are pruned where there are some."""
    histories = climb(method, 60), climb(method, 40, first=PATH_FIRST), climb(method, 40, first=CENTRES_FIRST)
    kinds = {action.kind for trials in histories for trial in trials for action in trial.proposal.actions}
    assert kinds == (set(ACTIONS) if method in MORPHING else set())


def test_nothing_is_decided_twice_in_one_chain(method: str) -> None:
    for trial in (*climb(method, 30), *climb(method, 30, first=PATH_FIRST)):
        for place, action in enumerate(trial.proposal.actions):
            assert not any(map(action.overrides, trial.proposal.actions[:place])), trial.proposal.actions


def test_only_actions_that_the_space_allows_are_proposed() -> None:
    allowed = ("prune_channels", "rearrange", "resize")
    for method in MORPHING:
        strategy = build_strategy(method, make_settings(30, space=replace(SPACE, actions=allowed)))
        history: list[Trial] = [FIRST]
        while len(history) <= 12:
            history.append(evaluate(history, strategy.ask(tuple(history), Random(len(history)))))
        assert {action.kind for trial in history for action in trial.proposal.actions} <= set(allowed)


def test_proposals_survive_a_round_through_json(method: str) -> None:
    for trial in climb(method, 20):
        for action in trial.proposal.actions:
            assert action_from_json(json.loads(json.dumps(action.to_json()))) == action
        for member in (trial.proposal.teacher, trial.proposal.subnet):
            assert member is None or subnet_from_json(json.loads(json.dumps(member.to_json()))) == member
        arch = trial.proposal.arch
        assert arch is None or ArchSpec.from_json(json.loads(json.dumps(arch.to_json()))) == arch


def test_the_teacher_is_a_member_of_the_pool(endless: str) -> None:
    taught = [trial.proposal.teacher for trial in climb(endless, 30)[1:] if trial.proposal.teacher is not None]
    assert taught and all(POOL.contains(teacher) for teacher in taught)


def test_a_fixed_teacher_is_the_largest_member_always(endless: str) -> None:
    history = climb(endless, 30, teachers=Teachers(POOL, fixed=True))
    assert {trial.proposal.teacher for trial in history[1:]} - {None} == {POOL.largest()}


def test_without_teachers_nobody_is_taught(method: str) -> None:
    assert {trial.proposal.teacher for trial in climb(method, 30, teachers=None)} == {None}


def test_no_strategy_asks_for_a_fine_tuning_itself(method: str) -> None:
    assert not any(trial.proposal.finetune for trial in climb(method, 20))


def test_fine_tuned_students_in_the_history_do_no_harm(endless: str) -> None:
    """A run that is given more trials after its end has them among the others."""
    history = climb(endless, 9)
    best = max(list_done(history), key=lambda trial: trial.score)
    for _ in range(2):
        proposal = Proposal(best.number, (), "fine-tuned", teacher=POOL.largest(), finetune=True)
        history.append(replace(evaluate(history, proposal), score=3.0))
    failed = Proposal(best.number, (), "fine-tuned", finetune=True)
    history.append(FailedTrial(len(history), failed, "made to fail"))
    strategy = build_strategy(endless, make_settings(30, TEACHERS))
    while len(history) <= 25:
        history.append(evaluate(history, strategy.ask(tuple(history), Random(len(history)))))
        assert not history[-1].proposal.finetune
        arch = list_done(history)[-1].arch
        assert contains(arch, SPACE)


# "pipeline" is not among them: it goes over to its last part, which needs no action
@pytest.mark.parametrize("method", ["joint", "pareto", "random"])
def test_a_space_without_a_legal_action_is_said_to_be_exhausted(method: str) -> None:
    nothing = Space(sizes=((160, 120),), region_proposals=(100,), actions=("resize",))
    strategy = build_strategy(method, make_settings(10, TEACHERS, nothing))
    with pytest.raises(SpaceExhausted, match=r"every legal action|none that is new|no action of the search space"):
        strategy.ask((FIRST,), Random(0))


def test_a_pool_that_is_tried_out_is_said_to_be_exhausted() -> None:
    alone = ElasticSpace("r18", ((2,),) * 4, (1.0,), SPACE.sizes[:1], region_proposals=100)
    strategy = build_strategy("etp", replace(make_settings(10), pool=alone))
    proposal = strategy.ask((FIRST,), Random(0))
    assert proposal.subnet == alone.largest()
    with pytest.raises(SpaceExhausted, match="100 draws from the teacher pool held none that is new"):
        strategy.ask((FIRST, FailedTrial(1, proposal, "made to fail")), Random(1))


def test_a_search_in_the_pool_needs_a_pool() -> None:
    with pytest.raises(InputError, match="etp searches in the teacher pool, and this run has none"):
        build_strategy("etp", replace(make_settings(10), pool=None))


@pytest.mark.parametrize("fail", [frozenset[int](), frozenset({1})])
def test_the_one_student_is_the_only_trial_whatever_becomes_of_it(fail: frozenset[int]) -> None:
    base, student = climb("distill", 30, fail)
    assert base is FIRST and student.proposal == Proposal(None, (), "r18, taught by the base", arch=BASE)
    with pytest.raises(SpaceExhausted, match="there is one student, and it was tried"):
        build_strategy("distill", make_settings(30)).ask((base, student), Random(0))


def test_a_run_that_names_no_student_cannot_distil_one() -> None:
    with pytest.raises(InputError, match="distill trains one student, and this run names none"):
        build_strategy("distill", replace(make_settings(1), student=None))
