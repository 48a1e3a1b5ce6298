"""Records keep everything and come back equal; verdicts are about made-up samples, so no clock is involved."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from deploy import PROTOCOLS, LatencyRecord, compare
from deploy.errors import InputError
from deploy.measuring.device import DeviceFingerprint
from deploy.measuring.intervals import find_median_interval
from deploy.measuring.record import Canary, WarmUp
from deploy.sensors import Conditions, Energy

DEVICE = DeviceFingerprint("a CPU (x86_64)", 2, 2, None, 0.1, "engine 1.0", "Linux 6, Python 3.11")


def make_record(windows: np.ndarray, lease: str = "lease", protocol: str = "final") -> LatencyRecord:
    return LatencyRecord(
        protocol=protocol,
        model_sha256="ab" * 32,
        target="cpu",
        device=DEVICE,
        lease=lease,
        measured_at="2026-01-01T00:00:00+00:00",
        windows_ms=tuple(tuple(float(value) for value in window) for window in windows),
        pre_ms=2.5,
        warm_up=(WarmUp(60, True),),
        bound="time cap",
        feeds="2 images",
        images_sha256="cd" * 32,
        canaries=(Canary(2.0, 2.02),),
        flags=("something",),
    )


def make_windows(median: float, seed: int, noise: float = 0.02, drift: np.ndarray | float = 1.0) -> np.ndarray:
    """(20, 30) samples: noise, some spikes, and a drift for each window."""
    rng = np.random.default_rng(seed)
    samples = median * (1 + noise * rng.standard_normal((20, 30)))
    samples[rng.random((20, 30)) < 0.02] *= 5
    return samples * np.broadcast_to(np.reshape(drift, (-1, 1)), (20, 1))


def test_a_record_survives_json() -> None:
    record = make_record(make_windows(10, 0))
    assert LatencyRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_record_with_all_that_a_board_tells_survives_json() -> None:
    record = replace(
        make_record(make_windows(10, 0)),
        mode="burst",
        gpu_ms=6.5,
        device=replace(DEVICE, power_mode="25W", clocks_locked=True),
        conditions=(Conditions(40.0, 52.5, (729.0, 1728.0), (624.0, 624.0), None, (), 90), Conditions()),
        energy=Energy(87.5, 31.25, 4760.0, 1200, 10.0),
    )
    value = json.loads(json.dumps(record.to_json()))
    assert LatencyRecord.from_json(value) == record
    assert (value["gpu_ms"], value["infer_ms"], value["pre_ms"]) == (6.5, value["median_ms"], 2.5)
    assert value["total_ms"] == pytest.approx(value["infer_ms"] + 2.5, abs=1e-3)
    assert value["conditions"][1]["throttle"] is None and value["conditions"][0]["throttle"] == [], "absent is not none"
    assert value["energy"]["gross_mj"] == 87.5


def test_a_record_from_before_these_keys_is_read() -> None:
    value = make_record(make_windows(10, 0)).to_json()
    for key in ("mode", "gpu_ms", "infer_ms", "conditions", "energy"):
        del value[key]
    value["device"] = {key: item for key, item in value["device"].items() if key not in ("power_mode", "clocks_locked")}
    old = LatencyRecord.from_json(json.loads(json.dumps(value)))
    assert old == make_record(make_windows(10, 0)) and old.mode == "sustained"
    assert old.gpu_ms is None and old.conditions == () and old.energy is None
    assert compare(old, make_record(make_windows(10, 0))).ratio == 1, "and is comparable with new ones"


def test_json_states_the_figures_readers_want() -> None:
    record = make_record(np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 100.0]]))
    value = record.to_json()
    assert value["median_ms"] == 3.0, "the median of the windows' medians 2 and 4"
    assert (value["min_ms"], value["max_ms"], value["runs"]) == (1.0, 100.0, 6), "nothing is clipped"
    assert value["total_ms"] == 5.5
    assert value["canaries"] == [{"before_ms": 2.0, "after_ms": 2.02, "drift": 0.01}]
    assert value["windows_ms"] == [[1.0, 2.0, 3.0], [2.0, 4.0, 100.0]]


def test_one_sample_is_a_record() -> None:
    record = make_record(np.array([[7.0]]))
    assert record.median_ms == record.mean_ms == record.percentile_ms(99) == 7.0
    assert record.ci95_ms == (7.0, 7.0) and record.iqr_ms == 0.0


def test_no_sample_is_no_record() -> None:
    with pytest.raises(AssertionError):
        make_record(np.zeros((0, 0)))


def test_the_interval_holds_the_median_and_is_reproducible() -> None:
    low, high = make_record(make_windows(10, 1)).ci95_ms
    assert low <= 10 <= high and high - low < 0.2
    assert make_record(make_windows(10, 1)).ci95_ms == (low, high)


def test_drifting_windows_widen_the_interval() -> None:
    steady = make_record(make_windows(10, 1)).ci95_ms
    drifting = make_record(make_windows(10, 1, drift=np.linspace(1, 1.5, 20))).ci95_ms
    assert drifting[1] - drifting[0] > 5 * (steady[1] - steady[0])


@pytest.mark.parametrize("value", [{}, {"windows_ms": 3}])
def test_what_is_no_record_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(InputError, match="not a latency record"):
        LatencyRecord.from_json(value)


def test_a_model_does_not_differ_from_itself() -> None:
    verdicts = [
        compare(make_record(make_windows(10, seed)), make_record(make_windows(10, seed + 100))).different
        for seed in range(20)
    ]
    assert not any(verdicts)


def test_in_one_lease_a_shared_drift_cancels() -> None:
    drift = np.linspace(1, 2, 20)
    base, student = make_record(make_windows(10, 0, drift=drift)), make_record(make_windows(8, 1, drift=drift))
    found = compare(base, student)
    assert found.ratio == pytest.approx(1.25, rel=0.01)
    assert found.ci95[0] <= 1.25 <= found.ci95[1] and found.ci95[1] - found.ci95[0] < 0.03
    assert found.different
    elsewhere = compare(base, replace(student, lease="another"))
    assert elsewhere.ci95[1] - elsewhere.ci95[0] > 0.2, "apart, the drift stays in the interval"
    assert not elsewhere.different, "the intervals of both overlap"


def test_a_real_difference_below_the_gap_is_not_claimed() -> None:
    base, student = make_windows(10, 0, noise=1e-4), make_windows(9.8, 1, noise=1e-4)
    assert compare(make_record(base), make_record(student)).different
    assert not compare(make_record(base, protocol="screen"), make_record(student, protocol="screen")).different


def test_the_ratio_is_the_first_over_the_second() -> None:
    slow, fast = make_record(make_windows(20, 0)), make_record(make_windows(10, 1))
    assert compare(slow, fast).ratio == pytest.approx(2, rel=0.02)
    assert compare(slow, replace(fast, lease="another")).ratio == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"target": "jetson"}, "target"),
        ({"protocol_version": 1}, "protocol version"),
        ({"device": replace(DEVICE, threads=1)}, "device"),
        ({"device": replace(DEVICE, power_mode="15W")}, "device"),
        ({"device": replace(DEVICE, clocks_locked=True)}, "device"),
        ({"mode": "burst"}, "mode"),
    ],
)
def test_records_of_unlike_circumstances_are_not_compared(change: dict[str, object], word: str) -> None:
    record = make_record(make_windows(10, 0))
    with pytest.raises(InputError, match=f"their {word} is not the same"):
        compare(record, replace(record, **change))


def test_another_load_is_not_another_device() -> None:
    record = make_record(make_windows(10, 0))
    assert compare(record, replace(record, device=replace(DEVICE, load_average=3.0))).ratio == 1


@pytest.mark.parametrize("windows", [3, 6, 7, 8, 10, 20])
@pytest.mark.parametrize("lease", ["lease", "another"])
def test_equal_models_are_called_different_in_at_most_5_percent_even_of_few_windows(windows: int, lease: str) -> None:
    rng = np.random.default_rng(windows)

    def measure_once(name: str) -> LatencyRecord:
        samples = 10 * (1 + 0.05 * rng.standard_normal((windows, 1)) + 0.02 * rng.standard_normal((windows, 8)))
        return make_record(samples, name)  # windows far noisier than the gap of 1 %, which then protects from nothing

    tries = 200 if lease == "lease" else 60
    called = sum(compare(measure_once("lease"), measure_once(lease)).different for _ in range(tries))
    assert called <= 0.05 * tries


@pytest.mark.parametrize("windows", [6, 7, 8, 10, 20, 34])
def test_the_interval_of_a_ratio_holds_the_truth_in_95_percent_of_leases(windows: int) -> None:
    rng = np.random.default_rng(windows)
    held = 0
    for _ in range(400):
        low, high = find_median_interval(1.1 * (1 + 0.05 * rng.standard_t(2, windows)))
        held += low <= 1.1 <= high
    assert held >= 0.93 * 400, "0.95 less two standard deviations of this count"


@pytest.mark.parametrize(("count", "beyond"), [(1, 0), (5, 0), (6, 0), (8, 0), (9, 1), (12, 2), (20, 5), (100, 39)])
def test_the_interval_is_that_of_the_sign_test(count: int, beyond: int) -> None:
    assert find_median_interval(np.arange(count)[::-1]) == (beyond, count - 1 - beyond), "as in tables of the binomial"


def test_a_plain_difference_of_slow_models_is_claimed_of_as_few_windows_as_they_have_at_least() -> None:
    rules = PROTOCOLS["screen"]
    base, student = (
        make_record(make_windows(ms, seed)[: rules.min_windows, : rules.window_min_runs], protocol="screen")
        for seed, ms in enumerate((90, 57))
    )
    assert compare(student, base).different and compare(student, base).ci95[1] < 0.75


def test_a_large_difference_in_too_few_windows_is_not_claimed() -> None:
    slow, fast = make_record(make_windows(20, 0)[:5]), make_record(make_windows(10, 1)[:5])
    assert compare(slow, fast).ratio > 1.9 and not compare(slow, fast).different
    assert not compare(slow, replace(fast, lease="another")).different
