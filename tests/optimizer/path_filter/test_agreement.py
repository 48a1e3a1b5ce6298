"""Accuracy, precision, recall and Kendall's tau by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from optimizer.path_filter.agreement import compute_kendall_tau, measure_agreement


def test_kendall_s_tau_by_hand() -> None:
    rising = np.array([1.0, 2.0, 3.0, 4.0])
    assert compute_kendall_tau(rising, rising) == pytest.approx(1)
    assert compute_kendall_tau(rising, -rising) == pytest.approx(-1)
    assert compute_kendall_tau(rising, np.array([1.0, 3.0, 2.0, 4.0])) == pytest.approx(4 / 6)
    # one tie on one side: five pairs agree, of six and of five
    assert compute_kendall_tau(rising, np.array([1.0, 2.0, 2.0, 4.0])) == pytest.approx(5 / math.sqrt(30))
    assert math.isnan(compute_kendall_tau(rising, np.ones(4)))


def test_the_weakest_quarter_of_each_bucket_is_positive() -> None:
    losses = np.array([4.0, 3.0, 2.0, 1.0, 40.0, 30.0, 20.0, 10.0])
    buckets = np.array([0, 0, 0, 0, 3, 3, 3, 3])
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.5, 0.7, 0.8])  # the second bucket's weakest is taken for another
    found = measure_agreement(scores, losses, buckets)
    assert (found.accuracy, found.precision, found.recall) == (6 / 8, 1 / 2, 1 / 2)
    assert found.tau == pytest.approx((1 + 4 / 6) / 2)


def test_thresholds_of_a_training_call_other_shares_weak() -> None:
    losses, scores = np.array([4.0, 3.0, 2.0, 1.0]), np.array([0.1, 0.2, 0.3, 0.4])
    buckets = np.array([2, 2, 2, 2])
    found = measure_agreement(scores, losses, buckets, thresholds=np.array([9.0, 9.0, 0.25, 9.0, 9.0]))
    assert (found.accuracy, found.precision, found.recall) == (3 / 4, 1 / 2, 1)
    nothing = measure_agreement(scores, losses, buckets, thresholds=np.zeros(5))
    assert math.isnan(nothing.precision) and nothing.recall == 0 and nothing.accuracy == 3 / 4


def test_no_paths_agree_on_nothing() -> None:
    none = measure_agreement(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))
    assert math.isnan(none.accuracy) and math.isnan(none.tau)
