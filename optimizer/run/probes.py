"""Latencies of untrained morphs, measured before a search: what its predictor of latency starts from."""

from __future__ import annotations

from deploy import MeasurementFailure
from optimizer.config import RunConfig
from optimizer.cost.base import Candidate
from optimizer.progress import RunProgress
from optimizer.search.base import Proposal, get_done
from optimizer.search.predictor import Probe
from optimizer.search.sizing import choose_probes
from optimizer.store.run_store import RunStore
from optimizer.trials.evaluation import Evaluation

__all__ = ["measure_probes"]

PROBE_S = 12.0  # making, exporting and measuring one
PROBES_SHARE = 0.05  # of a budget, at most


def measure_probes(
    store: RunStore, config: RunConfig, evaluation: Evaluation, progress: RunProgress
) -> tuple[Probe, ...]:
    """Latencies of a few students that nobody trained, each far along one kind of action; one lease for all of them.

    None in runs whose method does not aim at latencies, and none where they would take more than a twentieth of the
    budget: the predictor then starts from operations alone. They are kept with the run.

    Raises:
        MeasurementError: the base has no latency. A probe without one is left out.
    """
    if not config.search.aims or not config.search.trials:
        return ()
    if store.probes is None:
        base = get_done(store.history(), 0)
        chains = choose_probes(base.arch, config.search.space)
        if config.budget_s is not None and PROBE_S * len(chains) > PROBES_SHARE * config.budget_s:
            chains = []
        progress.start_step(f"measure {len(chains)} untrained students", len(chains) + 1)
        candidates: dict[int, Candidate] = {0: evaluation.exporter.find(base)}
        architectures = []
        for number, chain in enumerate(chains, 1):
            student = evaluation.builder.build(0, Proposal(0, chain, epochs=0), base)
            candidates[number] = evaluation.exporter.export_probe(number, student.arch, student.detector)
            architectures.append(student.arch)
            progress.advance_step(number)
        found = evaluation.judge.meter.measure_all(candidates) if chains else {}
        store.probes = [
            Probe(arch, 1 / answer.ratio).to_json()
            for number, arch in enumerate(architectures, 1)
            if not isinstance(answer := found[number], MeasurementFailure)
        ]
        evaluation.exporter.forget_probes()
    return tuple(Probe.from_json(value) for value in store.probes)
