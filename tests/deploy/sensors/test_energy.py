"""Energy of made-up meters, for which the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.sensors.base import Reading, Sample, Span
from deploy.sensors.energy import Energy, find_energy, merge_energies


def power_samples(watts: np.ndarray, step_s: float = 0.1) -> list[Sample]:
    return [Sample(index * step_s, Reading(power_mw=1000 * value)) for index, value in enumerate(watts)]


WORK, IDLE = Span(5.0, 9.0, 200), Span(0.5, 3.5)
STEP = np.where(np.arange(101) < 40, 4.0, 10.0)  # 4 W at rest, 10 W at work


def test_power_over_time_divided_by_frames() -> None:
    energy = find_energy(power_samples(STEP), WORK, IDLE)
    assert energy == Energy(gross_mj=200.0, net_mj=120.0, idle_mw=4000.0, frames=200, seconds=4.0)


def test_a_counter_is_preferred_to_power() -> None:
    samples = [
        Sample(item.at_s, item.reading._replace(energy_mj=1e9 + 7000 * item.at_s)) for item in power_samples(STEP)
    ]
    energy = find_energy(samples, WORK, IDLE)
    assert energy is not None
    assert energy.gross_mj == pytest.approx(7000 * 4 / 200) and energy.net_mj == pytest.approx(0, abs=1e-3)


def test_a_linear_ramp_is_integrated_exactly() -> None:
    energy = find_energy(power_samples(np.arange(101) * 0.1), Span(2.0, 4.0, 1), None)
    assert energy is not None and energy.gross_mj == pytest.approx(1000 * 6.0)
    assert energy.net_mj is None and energy.idle_mw is None, "rest was not metered"


@pytest.mark.parametrize(
    ("samples", "span"),
    [
        ([], WORK),
        ([Sample(index * 0.1, Reading(temperature_c=50)) for index in range(101)], WORK),
        (power_samples(STEP), Span(5.0, 5.05, 3)),
        (power_samples(STEP), Span(5.0, 12.0, 3)),
        (power_samples(STEP), Span(5.0, 9.0, 0)),
    ],
    ids=["no samples", "no power", "too short", "past the last sample", "no frames"],
)
def test_what_was_not_metered_is_absent_and_not_zero(samples: list[Sample], span: Span) -> None:
    assert find_energy(samples, span, None) is None


def test_rest_that_was_not_metered_leaves_the_gross_figure() -> None:
    energy = find_energy(power_samples(STEP)[45:], WORK, IDLE)
    assert energy is not None and energy.gross_mj == 200.0 and energy.net_mj is None


def test_processes_are_merged_by_frames_and_one_without_leaves_none() -> None:
    parts = [Energy(100, 60, 4000, 300, 3), Energy(200, None, None, 100, 2), Energy(200, 100, 5000, 100, 1)]
    merged = merge_energies([parts[0], parts[2]])
    assert merged == Energy(gross_mj=125, net_mj=70, idle_mw=4250, frames=400, seconds=4)
    partly = merge_energies(parts)
    assert partly is not None and partly.net_mj is None and partly.gross_mj == 140
    assert merge_energies([parts[0], None]) is None and merge_energies([]) is None


def test_json_both_ways() -> None:
    energy = Energy(1.5, None, None, 3, 2.0)
    assert Energy.from_json(energy.to_json()) == energy
