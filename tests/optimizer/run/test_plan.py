"""How long a run will take: what is charged, and which budgets are refused before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from made_trials import make_done

from optimizer.arch.families import base_arch
from optimizer.config import UNLIMITED, RunConfig
from optimizer.errors import InputError
from optimizer.recipes import distilled, smoke
from optimizer.run.estimates import find_teacher_share
from optimizer.run.plan import Plan, find_step_s, make_plan
from optimizer.search.base import FailedTrial, PendingTrial, Proposal, Work

CPU = torch.device("cpu")
IMAGES = 16
STEP_S = 0.5


@pytest.fixture
def config() -> RunConfig:
    """Taught, without a measurement, with a budget that nothing comes up to."""
    return smoke().changed({"search.cost": "macs", "budget_s": 1e6, "search.finetuned": 1})


def total(plan: Plan) -> float:
    return plan.base_s + plan.pool_s + plan.trials * plan.trial_s + plan.handover_s


def test_every_training_is_charged_by_its_steps(config: RunConfig) -> None:
    plan = make_plan(config, IMAGES, STEP_S)
    steps = IMAGES // config.batch_size
    assert plan.base_s == pytest.approx(STEP_S * steps * config.base_train.epochs + 10)
    assert plan.trial_s == pytest.approx(1.4 * STEP_S * steps * config.trial_train.epochs + 10)
    assert plan.pool_s == pytest.approx(1.8 * STEP_S * steps * 3 + 10), "three phases of one epoch"
    assert config.finetune is not None
    alone = make_plan(config.changed({"search.finetuned": 0}), IMAGES, STEP_S)
    finetuning = 1.4 * STEP_S * steps * config.finetune.epochs + 10
    assert plan.handover_s == pytest.approx(alone.handover_s + finetuning)
    assert make_plan(config, 1, STEP_S).base_s > 10, "fewer images than a batch are a step"


def test_other_exports_are_charged_for_every_model_handed_over(config: RunConfig) -> None:
    without, one, two = (make_plan(config, IMAGES, STEP_S, variants=count, val_images=10) for count in (0, 1, 2))
    passes = 3 * 10 + 64
    assert one.handover_s - without.handover_s == pytest.approx(4 * (10 + passes * 0.4 * STEP_S / config.batch_size))
    assert two.handover_s - one.handover_s == pytest.approx(one.handover_s - without.handover_s)
    timed = config.changed({"search.cost": "latency"})
    with_lease, none = (make_plan(timed, IMAGES, STEP_S, variants=count).handover_s for count in (1, 0))
    assert with_lease - none > 4 * (10 + 64 * 0.4 * STEP_S / config.batch_size), "the final lease is charged too"
    assert "in up to 2 other exports" in two.describe() and "exports" not in without.describe()


def test_what_exists_already_is_not_charged(config: RunConfig) -> None:
    whole = make_plan(config, IMAGES, STEP_S)
    assert whole.base_s > 0 and whole.pool_s > 0
    resumed = make_plan(config, IMAGES, STEP_S, base_exists=True, pool_exists=True)
    assert (resumed.base_s, resumed.pool_s) == (0, 0)
    assert total(resumed) == pytest.approx(whole.trials * whole.trial_s + whole.handover_s)
    assert "teachers" in whole.describe() and "teachers" not in resumed.describe()
    assert make_plan(config, IMAGES, STEP_S, base_exists=True).pool_s == whole.pool_s
    assert make_plan(config, IMAGES, STEP_S, pool_exists=True).base_s == whole.base_s


def test_teachers_are_charged_only_to_a_run_that_draws_on_them(config: RunConfig) -> None:
    untaught = make_plan(config.changed({"search.teacher": "none"}), IMAGES, STEP_S)
    assert untaught.pool_s == 0 and untaught.trial_s < make_plan(config, IMAGES, STEP_S).trial_s
    assert make_plan(config.changed({"search.trials": 0}), IMAGES, STEP_S).pool_s == 0
    etp = config.changed({"search.teacher": "none", "search.method": "etp"})
    assert make_plan(etp, IMAGES, STEP_S).pool_s > 0


def test_a_pools_larger_batches_are_fewer_and_dearer(config: RunConfig) -> None:
    whole, large = (make_plan(config.changed({"pool.batch_size": size}), IMAGES, STEP_S) for size in (2, 8))
    assert large.pool_s == pytest.approx(whole.pool_s)


def test_a_plan_is_made_whatever_the_budget_and_refuses_it_when_it_is_asked(config: RunConfig) -> None:
    short = make_plan(config.changed({"budget_s": 1.0}), IMAGES, STEP_S)
    assert short.budget_s == 1
    with pytest.raises(InputError, match=r"a budget of 1 s is too short for one student: .* raise --budget"):
        short.check()
    resumed = make_plan(config.changed({"budget_s": 1.0}), IMAGES, STEP_S, base_exists=True, pool_exists=True)
    assert not resumed.has_time_for_trial(0.0, []), "a run that goes on hands over what it has"
    make_plan(config, IMAGES, STEP_S).check()


def test_what_exists_already_need_not_fit_the_budget(config: RunConfig) -> None:
    whole = make_plan(config, IMAGES, STEP_S)
    enough = config.changed({"budget_s": whole.trial_s + whole.handover_s + 1})
    make_plan(enough, IMAGES, STEP_S, base_exists=True, pool_exists=True).check()
    for exists in ({"base_exists": True}, {"pool_exists": True}, {}):
        with pytest.raises(InputError, match="too short for one student"):
            make_plan(enough, IMAGES, STEP_S, **exists).check()


@pytest.mark.parametrize(
    ("trials", "budget", "fits"), [(1, 151, True), (1, 149, False), (0, 131, True), (0, 129, False)]
)
def test_one_student_has_to_fit_where_there_is_one(trials: int, budget: float, fits: bool) -> None:
    plan = Plan(base_s=70, pool_s=30, trial_s=20, handover_s=30, trials=trials, budget_s=budget)
    if fits:
        plan.check()
    else:
        with pytest.raises(InputError, match="too short"):
            plan.check()


def test_without_a_budget_nothing_is_refused() -> None:
    plan = Plan(base_s=1e6, trial_s=1e6, handover_s=1e6, trials=100, budget_s=None)
    plan.check()
    assert "the budget" not in plan.describe()


def test_a_step_is_timed_where_there_is_a_budget_to_hold_it_against(config: RunConfig) -> None:
    assumed = find_step_s(config.changed({"budget_s": None}), CPU)
    assert assumed == find_step_s(config.changed({"budget_s": None}), CPU)
    assert find_step_s(config, CPU) > 0 and find_step_s(config, CPU) != assumed


def test_failed_and_pending_students_say_nothing_of_the_time(config: RunConfig) -> None:
    plan = Plan(base_s=100, trial_s=20, handover_s=30, trials=50, budget_s=300)
    history = [
        make_done(work=Work(5.0, 200.0)),
        FailedTrial(1, Proposal(0), "made to fail"),
        PendingTrial(2, Proposal(0)),
    ]
    assert plan.has_time_for_trial(240, history)


def test_a_search_for_a_whole_front_keeps_a_share_of_its_budget_for_the_last_training(config: RunConfig) -> None:
    config = config.changed({"search.method": "pareto", "search.teacher": "none", "search.finetuned": 3})
    plan = make_plan(config.changed({"budget_s": 1000.0}), IMAGES, STEP_S)
    after = plan.handover_s - 350
    assert plan.last_s == pytest.approx(350) and after > 0
    students = [make_done(), make_done(1, work=Work(6.0, 20.0))]
    assert plan.has_time_for_trial(1000 - plan.handover_s - 1.2 * (20 + plan.screen_s), students)
    assert not plan.has_time_for_trial(1000 - plan.handover_s - (20 + plan.screen_s), students)
    assert plan.has_time_for_trial(1000 - after - 1.2 * plan.trial_s, []), "the first student comes before all that"
    assert not plan.has_time_for_trial(1000 - after - plan.trial_s, [])
    left = plan.find_last_training_s(500)
    assert left is not None and 500 - after - 50 < left < 500 - after, (
        "and it takes whatever is left, with some to spare"
    )
    assert plan.find_last_training_s(2000) == 0
    assert make_plan(config.changed({"budget_s": None}), IMAGES, STEP_S).find_last_training_s(0) is None


def test_other_methods_have_their_recipes_last_training_or_what_a_budget_leaves_of_it(config: RunConfig) -> None:
    joint = config.changed({"search.method": "joint", "search.finetuned": 2, "finetune.epochs": 6})
    enough, short = (make_plan(joint.changed({"budget_s": budget_s}), IMAGES, STEP_S) for budget_s in (1e6, 200.0))
    whole = make_plan(joint.changed({"budget_s": None}), IMAGES, STEP_S)
    assert whole.last_s is None and enough.handover_s == whole.handover_s
    assert short.last_s == pytest.approx(70) and short.handover_s < whole.handover_s
    assert short.has_time_for_trial(200 - 1.2 * short.trial_s - (short.handover_s - 70), []), "a student comes first"


def test_a_search_that_only_time_ends_says_so(config: RunConfig) -> None:
    config = config.changed({"search.method": "pareto", "search.teacher": "none", "search.trials": UNLIMITED})
    assert (
        "while the budget of 20 min lasts" in make_plan(config.changed({"budget_s": 1200.0}), IMAGES, STEP_S).describe()
    )


def test_other_exports_are_made_to_fit_a_budget(config: RunConfig) -> None:
    many = make_plan(config.changed({"budget_s": 1000.0}), IMAGES, STEP_S, variants=50)
    assert many.exports_s == pytest.approx(150), "a share of it, however many there are"
    none = make_plan(config.changed({"budget_s": 1000.0}), IMAGES, STEP_S)
    assert many.handover_s == pytest.approx(none.handover_s + 150)
    short = config.changed({"budget_s": none.base_s + none.pool_s + none.handover_s + none.trial_s + 1})
    make_plan(short, IMAGES, STEP_S, variants=50).check()
    bundles_s = none.handover_s - (none.last_s or 0.0)
    assert many.has_time_for_export(1000 - bundles_s - 1.2 * many.export_s)
    assert not many.has_time_for_export(1000 - bundles_s - 1.0 * many.export_s)
    assert make_plan(config.changed({"budget_s": None}), IMAGES, STEP_S, variants=50).has_time_for_export(1e9)


def test_a_base_that_is_trained_until_it_stops_gaining_is_charged_with_its_least(config: RunConfig) -> None:
    config = config.changed({"base_epochs": "auto", "base_train.epochs": 60, "search.finetuned": 0})
    for search, charged in (({}, 1.0), ({"search.method": "pareto", "search.teacher": "none"}, 1.0)):
        generous = make_plan(config.changed({"budget_s": 1e6, **search}), IMAGES, STEP_S)
        assert generous.least_base_s is not None and generous.least_base_s < generous.base_s
        least = generous.least_base_s + generous.pool_s + generous.handover_s - generous.exports_s + generous.trial_s
        make_plan(config.changed({"budget_s": least + charged, **search}), IMAGES, STEP_S).check()
        with pytest.raises(InputError, match="too short for one student"):
            make_plan(config.changed({"budget_s": least - charged, **search}), IMAGES, STEP_S).check()


def test_rounds_are_what_the_budget_has_time_for() -> None:
    plan = Plan(base_s=60, trial_s=100, handover_s=40, trials=UNLIMITED, budget_s=1000)
    assert plan.count_rounds(elapsed_s=70) == int((1000 - 70 - 40) / 110)
    assert plan.count_rounds(elapsed_s=990) == 1, "one, even if it is late"
    assert Plan(60, 100, 40, trials=3, budget_s=1000).count_rounds(70) == 3
    assert Plan(60, 100, 40, trials=4, budget_s=None).count_rounds(70) == 4


def test_one_student_is_charged_with_a_bases_epochs_and_its_teachers_pass(config: RunConfig) -> None:
    config = distilled(config, "r18", Path("teacher"))
    same, large = (base_arch(family, config.input_size, region_proposals=30) for family in ("r18", "r101"))
    assert find_teacher_share(config, same) == pytest.approx(1.05 + 1 / 3)
    assert find_teacher_share(config, large) > 1.6
    seen_larger = config.changed({"distill.teacher_canvas": "own"})
    assert find_teacher_share(seen_larger, same.with_size(192, 192)) > find_teacher_share(seen_larger, same)
    plan = make_plan(config, IMAGES, STEP_S, teacher=same)
    steps = IMAGES // config.batch_size
    assert plan.base_s == 10, "the teacher is exported, and not trained"
    taught_s = find_teacher_share(config, same) * STEP_S * steps * config.base_train.epochs
    assert plan.trial_s == pytest.approx(taught_s + 10) and plan.trials == 1
    assert "then 1 student of about" in plan.describe()
    assert make_plan(config, IMAGES, STEP_S).trial_s > plan.trial_s, "a teacher that is not known is reckoned with 1.4"
