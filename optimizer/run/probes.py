"""Latencies of untrained students, measured before a search: what its predictor of latency starts from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias, cast

from deploy import MeasurementFailure
from optimizer.arch.ofa_space import OfaSpace
from optimizer.arch.spec import ArchSpec
from optimizer.config import RunConfig
from optimizer.cost.base import Candidate
from optimizer.detectors.base import Detector
from optimizer.progress import RunProgress
from optimizer.search.base import DoneTrial, Proposal, get_done
from optimizer.search.predictor import Probe
from optimizer.search.sizing import choose_probes
from optimizer.store.run_store import RunStore
from optimizer.supernet.path_latency import choose_subnets
from optimizer.trials.evaluation import Evaluation

__all__ = ["measure_probes"]

PROBE_S = 12.0  # making, exporting and measuring one
PROBES_SHARE = 0.05  # of a budget, at most

Made: TypeAlias = tuple[ArchSpec, Detector]


def measure_probes(
    store: RunStore, config: RunConfig, evaluation: Evaluation, progress: RunProgress
) -> tuple[Probe, ...]:
    """Latencies of a few students that nobody trained, each far along one kind of choice; one lease for all of them.

    None in runs that ask for no latency before their search. They are kept with the run. Where the method aims at
    latencies there are none either if they would take more than a twentieth of the budget: its predictor then starts
    from operations alone. A path filter's buckets of latency always have some.

    Raises:
        MeasurementError: the base has no latency. A probe without one is left out.
    """
    for_buckets = config.needs_pool and bool(config.pool_config().measured_on)
    if not (config.search.aims or for_buckets) or not config.search.trials:
        return ()
    if store.probes is None:
        base = get_done(store.history(), 0)
        count, made = (_make_subnets if for_buckets else _make_children)(config, evaluation, base)
        progress.start_step(f"measure {count} untrained students", count + 1)
        candidates: dict[int, Candidate] = {0: replace(evaluation.exporter.find(base), everywhere=False)}
        architectures = []
        for number, (arch, detector) in enumerate(made, 1):
            candidates[number] = evaluation.exporter.export_probe(number, arch, detector)
            architectures.append(arch)
            progress.advance_step(number)
        found = evaluation.judge.meter.measure_all(candidates) if architectures else {}
        store.probes = [
            Probe(arch, 1 / answer.ratio).to_json()
            for number, arch in enumerate(architectures, 1)
            if not isinstance(answer := found[number], MeasurementFailure)
        ]
        evaluation.exporter.forget_probes()
        if for_buckets:
            progress.say(
                f"path filter: its buckets are of latency on {config.target}, predicted from {len(store.probes)} "
                "untrained subnets and the base, which were measured"
            )
    return tuple(Probe.from_json(value) for value in store.probes)


def _make_children(config: RunConfig, evaluation: Evaluation, base: DoneTrial) -> tuple[int, Iterator[Made]]:
    """Children of the base, and how many: none where the budget is too short for them."""
    chains = choose_probes(base.arch, config.search.space)
    if config.budget_s is not None and PROBE_S * len(chains) > PROBES_SHARE * config.budget_s:
        chains = []
    students = (evaluation.builder.build(0, Proposal(0, chain, epochs=0), base) for chain in chains)
    return len(chains), ((student.arch, student.detector) for student in students)


def _make_subnets(config: RunConfig, evaluation: Evaluation, base: DoneTrial) -> tuple[int, Iterator[Made]]:
    """Subnets of the super-network, with the base's weights where that is the largest of them, and how many.

    What they detect means nothing, and latencies depend on that next to nothing.
    """
    supernet = config.pool_config().build(len(evaluation.builder.class_names))
    space = cast(OfaSpace, supernet.space)
    largest = supernet.shared
    assert isinstance(largest, Detector)
    if base.arch.with_size(*largest.arch.input_size) == largest.arch:
        largest.load_state_dict(evaluation.builder.load(base).state_dict())
    subnets = [subnet for subnet in choose_subnets(space) if space.arch(subnet) != base.arch]
    return len(subnets), ((space.arch(subnet), supernet.extract(subnet).eval()) for subnet in subnets)
