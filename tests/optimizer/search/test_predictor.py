"""Latency by the operations of the parts: a prior without measurements, and the device's own with them."""

from __future__ import annotations

import pytest
from made_trials import make_done

from optimizer.arch import PruneFPN, Resize, base_arch, count
from optimizer.search.nonnegative import fit_nonnegative
from optimizer.search.predictor import Probe, fit_predictor, list_measured
from optimizer.search.sizing import apply_chain

BASE = base_arch("r18", (256, 192), region_proposals=100)
SMALL = apply_chain(BASE, (PruneFPN(0.5),))
assert SMALL is not None


def test_the_base_takes_one_and_a_smaller_network_no_more() -> None:
    for measured in ([], [Probe(SMALL, 0.4)], [Probe(SMALL, 1.3)]):
        predictor = fit_predictor(BASE, measured)
        assert predictor.predict(BASE) == pytest.approx(1.0)
        assert 0 < predictor.predict(SMALL) <= 1 + 1e-9
        assert min(predictor.shares.values()) >= 0


def test_without_measurements_latency_is_nine_tenths_operations() -> None:
    predicted = fit_predictor(BASE, ()).predict(SMALL)
    assert predicted == pytest.approx(0.9 * count(SMALL).macs / count(BASE).macs + 0.1, abs=0.02)


def test_what_was_measured_is_predicted() -> None:
    for share in (0.45, 0.6, 0.8):
        assert fit_predictor(BASE, [Probe(SMALL, share)] * 3).predict(SMALL) == pytest.approx(share, rel=0.05)


@pytest.mark.parametrize("detector", ["faster_rcnn", "retinanet", "centernet"])
def test_a_head_without_region_proposals_has_no_such_share(detector: str) -> None:
    arch = base_arch("r18", (256, 192), detector)
    shares = fit_predictor(arch, ()).shares
    assert ("regions" in shares) == ("rpn" in shares) == (detector == "faster_rcnn")
    assert sum(shares.values()) == pytest.approx(1.0)


def test_the_base_is_no_measurement_of_a_student() -> None:
    child = make_done(3, arch=BASE.with_size(192, 144), cost_ratio=2.0)
    assert list_measured((make_done(), child)) == [Probe(child.arch, 0.5)]
    assert apply_chain(BASE, (Resize((192, 144)),)) == child.arch


def test_a_fit_is_the_prior_without_rows_and_never_negative() -> None:
    assert fit_nonnegative([], [], [], [0.2, 0.5], [0.1, 0.1]) == pytest.approx((0.2, 0.5))
    found = fit_nonnegative([[1, 1], [1, 0]], [1.0, 2.0], [0.01, 0.01], [0.5, 0.5], [10.0, 10.0])
    assert found == pytest.approx((1.5, 0.0), abs=0.01)


def test_a_fit_finds_what_made_the_rows() -> None:
    rows = [[1.0, 2.0, 0.5], [0.3, 1.0, 2.0], [2.0, 0.1, 1.0], [1.0, 1.0, 1.0]]
    truth = (0.3, 0.6, 0.1)
    outputs = [sum(value * share for value, share in zip(row, truth)) for row in rows]
    assert fit_nonnegative(rows, outputs, [0.001] * 4, [0.5] * 3, [1.0] * 3) == pytest.approx(truth, abs=0.01)
