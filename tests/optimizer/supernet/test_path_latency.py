"""Buckets of predicted latency: the predictor's word for thousands of paths at once, and what is kept of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from optimizer.arch.families import base_arch
from optimizer.arch.ofa_space import OfaSpace
from optimizer.errors import InputError
from optimizer.path_filter.buckets import Buckets
from optimizer.search.predictor import Probe, fit_predictor
from optimizer.supernet.path_latency import MeasuredPaths, choose_subnets

SIZE = (96, 64)


def make(detector: str) -> tuple[OfaSpace, MeasuredPaths]:
    """A device on which every block takes a while, whatever its width."""
    space = OfaSpace("ofa_resnet50", (SIZE, (64, 64)), 50, detector)
    base = base_arch("ofa_resnet50", SIZE, detector)
    base = replace(base, head=base.head.propose(50))
    archs = [space.arch(subnet) for subnet in choose_subnets(space)]
    depth = sum(base.body.depths)
    shares = [
        0.3 * arch.body.count(SIZE).macs / base.body.count(SIZE).macs + 0.7 * sum(arch.body.depths) / depth
        for arch in archs
    ]
    return space, MeasuredPaths("toy", base, tuple(map(Probe, archs, shares)), 20)


@pytest.mark.parametrize("detector", ["faster_rcnn", "centernet", "retinanet"])
def test_it_is_the_predictor_s_word_of_every_path(detector: str) -> None:
    space, measured = make(detector)
    genes = Buckets.between_ends(space).draw_each(6, np.random.default_rng(0))
    predictor = fit_predictor(measured.base, measured.probes, measured.num_classes)
    wanted = [predictor.predict(space.arch(space.subnet(row, SIZE))) for row in genes.tolist()]
    np.testing.assert_allclose(measured.predict_each(space)(genes), wanted, rtol=1e-9)


def test_buckets_of_latency_are_others_where_latency_is_not_in_proportion_to_operations() -> None:
    space, measured = make("centernet")
    by_latency = Buckets.between_ends(space, measured.predict_each(space))
    by_macs = Buckets.between_ends(space)
    assert by_latency.edges[-1] == pytest.approx(1.0, abs=0.05)  # the base is the largest path
    genes = by_latency.draw_each(20, np.random.default_rng(0))
    assert np.bincount(by_latency.find(genes)).tolist() == [20] * 5
    assert (by_macs.find(genes) != by_latency.find(genes)).any()
    depths = [(space.tokens(genes[by_latency.find(genes) == bucket]) > 0).sum(axis=1).mean() for bucket in range(5)]
    assert depths == sorted(depths), "blocks are what takes time here"


def test_the_subnets_that_are_measured_are_the_ends_and_one_for_each_kind_of_choice() -> None:
    space, _ = make("centernet")
    chosen = choose_subnets(space)
    assert chosen[0] == space.largest() and chosen[1] == space.smallest() and len(set(chosen)) == 5
    assert all(space.contains(subnet) for subnet in chosen)


def test_it_is_kept_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    path, (_, measured) = tmp_path / "filter" / "latencies.json", make("centernet")
    measured.write(path)
    assert MeasuredPaths.read(path) == measured
    content = path.read_bytes()
    for damaged in (b"{", b"[]", b"{}", content.replace(b'"measured": [', b'"measured": [7, '), content[:-9] + b"}"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"latencies\.json is damaged") as caught:
            MeasuredPaths.read(path)
        assert "\n" not in str(caught.value)
