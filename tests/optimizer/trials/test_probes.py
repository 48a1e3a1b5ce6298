"""Untrained students measured before a search: once, in one lease, and kept with the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from slim_pools import slim_ofa

from optimizer.arch.bodies.ofa_resnet import OfaShape
from optimizer.arch.families import OFA_SHAPES
from optimizer.arch.ofa_space import OfaSpace
from optimizer.cost.base import Candidate
from optimizer.cost.macs import MacsCost
from optimizer.errors import InputError
from optimizer.progress import RunProgress
from optimizer.run.probes import measure_probes
from optimizer.search.predictor import Probe
from optimizer.store import RunStore
from optimizer.supernet.path_latency import choose_subnets

if TYPE_CHECKING:
    from conftest import SmallRun


class CountingMeter(MacsCost):
    """Remembers what each lease held."""

    leases: list[dict[int, Candidate]] = []

    def measure_all(self, candidates):
        self.leases.append(dict(candidates))
        assert all(candidate.source.model.is_file() for candidate in candidates.values())
        return super().measure_all(candidates)


def test_probes_are_measured_once_and_remembered(small_run: SmallRun) -> None:
    config = small_run.config.changed({"search.method": "pareto"})
    evaluation = small_run.build_evaluation(config)
    evaluation = replace(evaluation, judge=replace(evaluation.judge, meter=CountingMeter()))
    CountingMeter.leases.clear()
    probes = measure_probes(small_run.store, config, evaluation, RunProgress())
    (lease,) = CountingMeter.leases
    assert len(probes) == len(lease) - 1 >= 2
    assert [probe.share for probe in probes] == [
        pytest.approx(lease[number].counts.macs / lease[0].counts.macs) for number in range(1, len(lease))
    ]
    assert all(0 < probe.share < 1 for probe in probes), "each is a saving"
    assert not list(evaluation.exporter.scratch.glob("probe-*")), "their models are not kept"
    assert measure_probes(small_run.store, config, evaluation, RunProgress()) == probes
    assert len(CountingMeter.leases) == 1, "a run that goes on has them"


def test_a_filter_with_buckets_of_latency_has_subnets_measured_whatever_the_budget(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(OFA_SHAPES, "ofa_resnet50", OfaShape((1, 1, 1, 1), (1, 1, 1, 0), (32, 32, 48, 64), 16, 8))  # type: ignore[arg-type]
    monkeypatch.setattr(OfaSpace, "arch", slim_ofa)
    filtered = {
        "search.method": "detofa", "base": "ofa_resnet50", "ofa.shrinking": "filter", "ofa.filtering.bucket": "latency",
        "search.cost": "latency", "budget_s": 60.0,
    }  # fmt: skip
    config = small_run.config.changed(filtered)
    with RunStore.create(tmp_path / "run", config.model_dump(mode="json")) as store:
        store.record(small_run.store.history()[0])
        probes = measure_probes(store, config, small_run.build_evaluation(), RunProgress())
        assert [Probe.from_json(value) for value in store.probes or ()] == list(probes)
    space = cast(OfaSpace, config.pool_config().space())
    assert [probe.arch for probe in probes] == [space.arch(subnet) for subnet in choose_subnets(space)]
    assert probes[1].share == min(probe.share for probe in probes), "the smallest"
    assert "of latency on cpu, predicted from 5 untrained subnets" in capsys.readouterr().out
    for change, words in (
        ({"search.cost": "macs"}, "buckets of latency are for"),
        ({"ofa.shrinking": "dwe"}, "add --shrink"),
    ):
        with pytest.raises(InputError, match=words):
            config.changed(change)


def test_a_method_that_aims_at_no_latency_has_none_and_a_run_without_a_search_neither(small_run: SmallRun) -> None:
    evaluation = small_run.build_evaluation()
    for config in (small_run.config, small_run.config.changed({"search.method": "pareto", "search.trials": 0})):
        assert measure_probes(small_run.store, config, evaluation, RunProgress()) == ()


def test_a_short_budget_has_no_time_for_them(tmp_path: Path, small_run: SmallRun) -> None:
    config = small_run.config.changed({"search.method": "pareto", "budget_s": 60.0})
    with RunStore.create(tmp_path / "run", config.model_dump(mode="json")) as store:
        store.record(small_run.store.history()[0])
        assert measure_probes(store, config, small_run.build_evaluation(config), RunProgress()) == ()
        assert store.probes == []
