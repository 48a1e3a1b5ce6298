"""The learning rate in closed form."""

from __future__ import annotations

import math

import pytest

from optimizer.train.config import TrainConfig
from optimizer.train.schedule import lr_factor


def config(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate({"epochs": 1, "lr": 0.1, **changes})


def test_cosine_starts_at_one_passes_a_half_and_ends_at_nothing() -> None:
    factors = [lr_factor(step, 100, config(schedule="cosine")) for step in range(100)]
    assert factors[0] == 1.0
    assert factors[50] == pytest.approx(0.5)
    assert factors[25] == pytest.approx(0.5 * (1 + math.sqrt(0.5)))
    assert 0 < factors[99] < 1e-3
    assert factors == sorted(factors, reverse=True)


def test_step_divides_by_ten_at_each_milestone_of_the_whole_training() -> None:
    step = config(schedule="step", milestones=(8 / 12, 11 / 12))
    assert [lr_factor(number, 120, step) for number in (79, 80, 109, 110)] == pytest.approx([1, 0.1, 0.1, 0.01])


def test_constant_stays() -> None:
    assert {lr_factor(step, 30, config(schedule="constant")) for step in range(30)} == {1.0}


def test_warm_up_rises_linearly_from_a_thousandth_and_joins_the_schedule() -> None:
    warm = config(schedule="cosine", warmup_steps=10)
    assert lr_factor(0, 200, warm) == pytest.approx(1e-3)
    assert lr_factor(5, 200, warm) == pytest.approx(0.5005)
    assert lr_factor(10, 200, warm) == 1.0


def test_warm_up_takes_at_most_a_tenth_of_a_short_training() -> None:
    assert lr_factor(2, 20, config(schedule="constant", warmup_steps=500)) == 1.0
    assert lr_factor(1, 20, config(schedule="constant", warmup_steps=500)) < 1.0


def test_no_schedule_divides_by_zero_in_a_training_of_one_step() -> None:
    for schedule in ("cosine", "step", "constant"):
        assert 0 < lr_factor(0, 1, config(schedule=schedule, warmup_steps=5)) <= 1


def test_linear_falls_on_a_straight_line() -> None:
    factors = [lr_factor(step, 50, config(schedule="linear")) for step in range(50)]
    assert factors == pytest.approx([1 - step / 50 for step in range(50)])
