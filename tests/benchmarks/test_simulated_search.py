"""The formula that stands for a training: what it is fitted to, which way it moves, and its noise."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from statistics import fmean, stdev

import pytest
from simulated_search import (
    AP_NOISE,
    EDITS,
    LATENCY_NOISE,
    RECORDED,
    TRAINED_OUT,
    Formula,
    Setting,
    Simulation,
    best_ap,
    fit_formula,
    hypervolume,
    shrinkage,
    summarise,
    total_macs,
)

from optimizer.arch import ArchSpec, contains
from optimizer.search import STRATEGIES
from optimizer.search.base import DoneTrial, Proposal, list_done

ROWS = json.loads(RECORDED.read_text())["rows"]
SETTING = Setting.of_report(trials=5)


@pytest.fixture(scope="module")
def formula() -> Formula:
    return fit_formula(json.loads(RECORDED.read_text()))


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
    base = ArchSpec.from_json(ROWS[0]["arch"])
    for row in ROWS:
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
    seen = [simulation(number, Proposal(0)) for number in range(1, 601)]
    true_ap, true_latency = simulation.true[1]
    assert {simulation.true[number] for number in range(1, 601)} == {(true_ap, true_latency)}
    assert 0.004 <= AP_NOISE <= 0.006
    assert stdev(trial.ap for trial in seen) == pytest.approx(AP_NOISE, rel=0.1)
    assert fmean(trial.ap for trial in seen) == pytest.approx(true_ap, abs=0.001)
    assert stdev(math.log(trial.cost_ratio) for trial in seen) == pytest.approx(LATENCY_NOISE, rel=0.1)


def test_a_student_inherits_epochs_and_what_is_left_of_the_damage(simulation: Simulation) -> None:
    child = simulation(1, Proposal(0))
    simulation.record(child)
    assert child.work.epochs_total == 5 and simulation.true[1][0] > simulation.true[0][0]
    member = simulation(2, Proposal(None, subnet=SETTING.pool.largest()))
    assert member.work.epochs_total == 17 and member.arch == SETTING.pool.arch(SETTING.pool.largest())


@pytest.mark.parametrize("method", sorted(STRATEGIES))
def test_every_strategy_runs_through_the_real_loop_and_a_seed_repeats_it(method: str, formula: Formula) -> None:
    one, again, other = (SETTING.simulate(method, formula, seed) for seed in (3, 3, 4))
    assert one.history == again.history != other.history
    assert [trial.number for trial in one.history] == list(range(SETTING.trials + 1))
    done = list_done(one.history)
    assert done[0].score == pytest.approx(1.0) and all(isinstance(trial, DoneTrial) for trial in done)
    assert all(contains(trial.arch, SETTING.space) for trial in done)
    assert set(one.front()) <= set(one.true.values())


def test_a_front_is_picked_by_what_was_seen_and_shown_as_it_is(simulation: Simulation) -> None:
    better = replace(simulation(1, Proposal(0)), ap=0.9, cost_ratio=2.0)
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
