"""The formula that stands for a training: what it is fitted to, which way it moves, and its noise."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean, stdev

import pytest
from simulated_run import (
    AP_NOISE,
    LATENCY_NOISE,
    MEASURING_TIME,
    SCREEN_NOISE,
    SCREENING_TIME,
    TAYLOR,
    Conditions,
    Simulation,
)
from simulated_search import ROWS, Setting, best_ap, summarise
from simulated_training import EDITS, TRAINED_OUT, Formula, fit_formula, read_recorded, shrinkage, slow, total_macs

from optimizer.arch import ArchSpec, PruneChannels, PruneFPN, contains
from optimizer.search import STRATEGIES
from optimizer.search.base import DoneTrial, Proposal, ScreenedTrial, list_done
from optimizer.search.pareto import hypervolume

RECORDED_ROWS = read_recorded()["rows"]
SETTING = Setting.of_report(trials=5)


@pytest.fixture(scope="module")
def formula() -> Formula:
    return fit_formula(read_recorded())


@pytest.fixture
def simulation(formula: Formula) -> Simulation:
    return Simulation(formula, SETTING.base, SETTING.pool, seed=1)


def test_ap_grows_with_epochs_and_never_above_the_ceiling(formula: Formula) -> None:
    grown = [formula.ap(0.0, epochs) for epochs in (0, 1, 2, 4, 8, 16, 32)]
    assert grown == sorted(grown) and grown[0] == 0 and grown[-1] <= formula.ceiling
    assert len(set(grown[:6])) == 6


def test_ap_falls_as_a_network_shrinks_or_is_damaged(formula: Formula) -> None:
    assert formula.ap(-0.2, 8) > formula.ap(0.0, 8) > formula.ap(0.5, 8) > formula.ap(1.5, 8) > 0
    assert formula.ap(0.0, 8, 0.0) > formula.ap(0.0, 8, 0.1) > formula.ap(0.0, 8, 1.0) > 0


def test_damage_heals_with_epochs(formula: Formula) -> None:
    assert 0 < formula.left < 1
    assert formula.heal(0.3, 0) == 0.3
    assert formula.heal(0.3, 2) == pytest.approx(0.3 * formula.left**2)


def test_the_formula_is_near_the_recorded_rows(formula: Formula) -> None:
    base = ArchSpec.from_json(RECORDED_ROWS[0]["arch"])
    for row in RECORDED_ROWS:
        arch = ArchSpec.from_json(row["arch"])
        assert formula.ap(shrinkage(arch, base), row["epochs_of_student"]) == pytest.approx(row["ap"], abs=0.02)
        ratio = total_macs(arch) / total_macs(base)
        assert formula.latency(ratio) == pytest.approx(row["latency_over_base"], abs=0.08)


def test_the_formula_is_near_the_recorded_edits(formula: Formula) -> None:
    for kind, left, ap in EDITS:
        hurt = formula.hurt(kind, 1_000_000, round(1_000_000 * left))
        assert TRAINED_OUT * math.exp(-hurt) == pytest.approx(ap, abs=0.08), kind


def test_an_edit_that_removes_nothing_costs_nothing_and_a_moved_block_as_much_as_a_lost_one(formula: Formula) -> None:
    assert formula.hurt("add_layer", 100, 110) == formula.hurt("resize", 100, 120) == 0
    assert formula.hurt("rearrange", 100, 90) == pytest.approx(formula.hurt("prune_layer", 100, 90))
    assert formula.hurt("rearrange", 90, 100) > 0


def test_a_base_is_no_smaller_than_itself() -> None:
    assert shrinkage(SETTING.base, SETTING.base) == 0
    assert shrinkage(SETTING.base.with_size(192, 144), SETTING.base) > 0


def test_equal_students_differ_by_the_recorded_noise(simulation: Simulation) -> None:
    seen = [trial for n in range(1, 601) if isinstance(trial := simulation(n, Proposal(0)), DoneTrial)]
    true_ap, true_latency = simulation.true[1]
    assert {simulation.true[number] for number in range(1, 601)} == {(true_ap, true_latency)}
    assert 0.004 <= AP_NOISE <= 0.006
    assert stdev(trial.ap for trial in seen) == pytest.approx(AP_NOISE, rel=0.1)
    assert fmean(trial.ap for trial in seen) == pytest.approx(true_ap, abs=0.001)
    assert stdev(math.log(trial.cost_ratio) for trial in seen) == pytest.approx(LATENCY_NOISE, rel=0.1)


def test_a_student_inherits_epochs_and_what_is_left_of_the_damage(simulation: Simulation) -> None:
    child = simulation(1, Proposal(0))
    assert isinstance(child, DoneTrial)
    simulation.record(child)
    assert child.work.epochs_total == 5 and simulation.true[1][0] > simulation.true[0][0]
    member = simulation(2, Proposal(None, subnet=SETTING.pool.largest()))
    assert isinstance(member, DoneTrial)
    assert member.work.epochs_total == 17 and member.arch == SETTING.pool.arch(SETTING.pool.largest())


NOT_SIMULATED = {"detnas", "detofa", "distill"}  # the formula knows no subnets of theirs; one student is no search


@pytest.mark.parametrize("method", sorted(set(STRATEGIES) - NOT_SIMULATED))
def test_every_strategy_runs_through_the_real_loop_and_a_seed_repeats_it(method: str, formula: Formula) -> None:
    one, again, other = (SETTING.simulate(method, formula, seed) for seed in (3, 3, 4))
    assert one.history == again.history != other.history
    done = list_done(one.history)
    assert len(done) == SETTING.trials + 1 and [trial.number for trial in one.history] == list(range(len(one.history)))
    assert done[0].score == pytest.approx(1.0)
    assert all(isinstance(trial, DoneTrial) or trial.proposal.screens for trial in one.history)
    assert all(contains(trial.arch, SETTING.space) for trial in done)
    assert set(one.front()) <= set(one.true.values())


def test_a_front_is_picked_by_what_was_seen_and_shown_as_it_is(simulation: Simulation) -> None:
    child = simulation(1, Proposal(0))
    assert isinstance(child, DoneTrial)
    better = replace(child, ap=0.9, cost_ratio=2.0)
    simulation.record(better)
    assert simulation.front() == [simulation.true[1]]


def test_the_hypervolume_is_the_area_left_of_the_base() -> None:
    assert hypervolume([]) == hypervolume([(0.5, 1.0)]) == hypervolume([(0.6, 1.2)]) == 0
    assert hypervolume([(0.5, 0.6)]) == pytest.approx(0.2)
    assert hypervolume([(0.5, 0.6), (0.3, 0.4)]) == pytest.approx(0.5 * 0.4 + 0.3 * 0.2)
    assert hypervolume([(0.5, 0.6), (0.4, 0.8)]) == pytest.approx(0.2), "a point that is beaten adds nothing"


def test_the_best_ap_at_a_latency() -> None:
    front = [(0.5, 0.7), (0.3, 0.4)]
    assert [best_ap(front, latency) for latency in (0.8, 0.7, 0.6, 0.3)] == [0.5, 0.5, 0.3, 0.0]
    assert summarise([front, front])["ap_at_0.8"] == (0.5, 0.0)


NARROW = Proposal(0, (PruneChannels(0.3), PruneFPN(0.3)))


def make(formula: Formula, seed: int = 1, **under: float | bool) -> Simulation:
    return Simulation(formula, SETTING.base, SETTING.pool, seed, Conditions(**under))  # type: ignore[arg-type]


def test_a_screened_student_has_all_of_its_damage_and_takes_a_tenth_of_an_epoch(formula: Formula) -> None:
    looks = [make(formula)(number, replace(NARROW, epochs=0)) for number in range(1, 201)]
    assert all(isinstance(look, ScreenedTrial) for look in looks)
    assert stdev(look.ap for look in looks) == pytest.approx(SCREEN_NOISE, rel=0.2)
    simulation = make(formula)
    look = simulation(1, replace(NARROW, epochs=0))
    pace = simulation.pace(look.arch)
    assert 0.4 < pace < 1.0 and simulation.spent == pytest.approx(4.0 + SCREENING_TIME * pace)
    simulation(1, NARROW)
    assert fmean(look.ap for look in looks) < simulation.true[1][0] - 0.05, "an epoch heals"
    assert simulation.spent == pytest.approx(4.0 + (SCREENING_TIME + 1) * pace + MEASURING_TIME)


def test_more_epochs_heal_more_and_take_longer(formula: Formula) -> None:
    short, long = make(formula), make(formula)
    short(1, replace(NARROW, epochs=1))
    long(1, replace(NARROW, epochs=4))
    assert long.true[1][0] > short.true[1][0] and long.true[1][1] == short.true[1][1]
    assert long.spent > short.spent + 1.5


def test_each_condition_does_what_it_says(formula: Formula) -> None:
    plain = make(formula)
    plain(1, NARROW)
    for better, under in ((True, {"taylor": True}), (True, {"taught": True}), (False, {"continues": False})):
        changed = make(formula, **under)
        changed(1, NARROW)
        assert (changed.true[1][0] > plain.true[1][0]) == better, under
    anew = make(formula, inherits=False)
    anew(1, NARROW)
    assert anew.states[1].epochs == 1 and anew.true[1][0] < plain.true[1][0]
    assert 0 < TAYLOR < 1


def test_siblings_differ_in_luck_and_a_screening_sees_it(formula: Formula) -> None:
    proposals = [Proposal(0, (PruneChannels(share / 100),)) for share in (30, 31, 32, 33, 34, 35)]
    simulation = make(formula)
    for number, proposal in enumerate(proposals, 1):
        simulation(number, proposal)
    damage = [simulation.states[number].damage for number in range(1, 7)]
    assert damage != sorted(damage), "the one that prunes most is not always hurt most"


def test_slow_images_are_learned_and_heal_more_slowly(formula: Formula) -> None:
    slower = slow(formula)
    assert slower.ap(0.0, 5) / slower.ap(0.0, 14) == pytest.approx(0.785, abs=0.01)
    assert formula.left < slower.left < 1


@pytest.mark.parametrize("row", sorted(ROWS))
def test_every_row_keeps_to_its_time(row: str, formula: Formula) -> None:
    setting = Setting.of_time(24.0)
    one, again = (ROWS[row].simulate(setting, formula, 5) for _ in range(2))
    assert one.history == again.history
    base_epochs = one.under.base_epochs
    assert base_epochs < one.spent <= 24.0 + 1.5
    last = [trial for trial in list_done(one.history) if trial.proposal.finetune]
    assert len(last) <= one.under.last_members and bool(last) <= bool(one.under.last)
    assert all(contains(trial.arch, setting.space) for trial in list_done(one.history))


def test_the_last_training_shares_what_is_left(formula: Formula) -> None:
    run = ROWS["pareto"].simulate(Setting.of_time(30.0), formula, 2)
    last = [trial for trial in list_done(run.history) if trial.proposal.finetune]
    assert len(last) >= 2 and run.spent == pytest.approx(30.0)
    numbers = [trial.number for trial in last]
    assert numbers == list(range(numbers[0], numbers[0] + len(last)))
    assert {trial.proposal.parent for trial in last} < {trial.number for trial in list_done(run.history)}
