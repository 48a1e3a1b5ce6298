"""The end of a run: bundles of the front, all measured beside the base in one lease, and `front.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy import BundleManifest, open_bundle
from deploy.errors import DeployError, ParityError
from optimizer.cost.base import CostMeter
from optimizer.errors import RunFailed
from optimizer.evaluation import Evaluation
from optimizer.export import write_student
from optimizer.search.base import Trial
from optimizer.search.pareto import pareto_front
from optimizer.store.files import replace_file
from optimizer.store.run_store import RunStore

__all__ = ["Front", "find_front", "hand_over", "write_front"]

NOISE = 0.01  # costs closer than this do not evict each other from the front


@dataclass(frozen=True)
class Front:
    """The Pareto set as it stands.

    Attributes:
        numbers: trials on the front, cheapest first; 0 is the base, if nothing beats it.
        latency, ratios: record (JSON) and base-to-trial latency ratio of every trial that has them, by number; of the
            final lease where there was one.
        bundles: path of each bundle, relative to the run's folder.
        refused: why a bundle was not written, by number.
    """

    numbers: tuple[int, ...]
    latency: Mapping[int, Mapping[str, Any]]
    ratios: Mapping[int, float]
    bundles: Mapping[int, str] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)


def find_front(store: RunStore) -> Front:
    """The front of the trials recorded so far, with the final lease's figures where they exist."""
    done = [trial for trial in store.history() if trial.status == "done"]
    handed: dict[str, Any] = store.get_meta("handover", {})
    final: dict[str, Any] = handed.get("measured", {})
    latency = {trial.number: trial.latency for trial in done if trial.latency is not None}
    ratios = {trial.number: trial.cost_ratio or 1.0 for trial in done}
    for number, measured in final.items():
        ratios[int(number)] = measured["ratio"]
        if measured["latency"] is not None:
            latency[int(number)] = measured["latency"]
    candidates = [t for t in done if (t.ap or t.number == 0) and (not final or str(t.number) in final)]
    chosen = pareto_front([t.ap or 0.0 for t in candidates], [1 / ratios[t.number] for t in candidates], NOISE)
    bundles = {int(number): path for number, path in handed.get("bundles", {}).items()}
    refused = {int(number): reason for number, reason in handed.get("refused", {}).items()}
    return Front(tuple(candidates[index].number for index in chosen), latency, ratios, bundles, refused)


def hand_over(store: RunStore, evaluation: Evaluation, meter: CostMeter) -> None:
    """Measure the base and the front together once more, then write their bundles. What exists already is kept.

    Raises:
        RunFailed: not one bundle could be written.
    """
    by_number = {trial.number: trial for trial in store.history()}
    handed: dict[str, Any] = store.get_meta("handover", {})
    numbers = handed.get("numbers") or sorted({0, *find_front(store).numbers})
    progress = evaluation.progress
    if "measured" not in handed:
        progress.start_step(f"measure {len(numbers)} models in one lease", 1)
        candidates = {number: evaluation.candidate(by_number[number]) for number in numbers}
        measured = meter.measure_all(candidates)
        handed = {
            "numbers": numbers,
            "measured": {str(n): {"ratio": m.ratio, "latency": m.latency} for n, m in measured.items()},
            "bundles": {},
            "refused": {},
        }
        store.set_meta("handover", handed)
    progress.start_step("write bundles", len(numbers))
    for position, number in enumerate(numbers):
        if not _is_whole(store.folder, handed["bundles"].get(str(number))):
            try:
                name = _write_bundle(store.folder, by_number[number], evaluation, handed["measured"][str(number)])
                handed["bundles"][str(number)] = name
                handed["refused"].pop(str(number), None)
            except ParityError as error:
                handed["refused"][str(number)] = str(error)
                progress.say(f"no bundle for {_name(number)}: {error}")
            store.set_meta("handover", handed)
        progress.advance_step(position + 1)
    if not handed["bundles"]:
        raise RunFailed(f"no bundle passed the gate; the first reason: {next(iter(handed['refused'].values()))}")


def write_front(path: Path, store: RunStore) -> None:
    """`front.json`: the base and the students on the front, as DESIGN names the keys; whole at any moment."""
    front = find_front(store)
    trials = {trial.number: trial for trial in store.history() if trial.status == "done"}
    content = {
        "base": _describe(trials[0], front) if 0 in trials else None,
        "students": [_describe(trials[number], front) for number in front.numbers if number != 0],
    }
    replace_file(path, lambda aside: aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8"))


def _describe(trial: Trial, front: Front) -> dict[str, Any]:
    assert trial.arch is not None
    record = front.latency.get(trial.number)
    shown = {"median": "median_ms", "p90": "p90_ms", "p99": "p99_ms", "ci95": "ci95_ms"}
    return {
        "trial": trial.number,
        "arch": trial.arch.to_json(),
        "arch_id": trial.arch.arch_id,
        "input_size": list(trial.arch.input_size),
        "precision": "fp32",
        "ap": trial.ap,
        "ap50": trial.ap50,
        "macs": trial.macs,
        "flops_mmdet": trial.flops_mmdet,
        "params": trial.params,
        "latency_ms": {record["target"]: {name: record[key] for name, key in shown.items()}} if record else {},
        "latency_of_base_over_own": front.ratios.get(trial.number),
        "score": trial.score,
        "epochs_total": trial.epochs_total,
        "parent": trial.proposal.parent,
        "actions": [action.to_json() for action in trial.proposal.actions],
        "teacher": trial.proposal.teacher.to_json() if trial.proposal.teacher is not None else None,
        "bundle": front.bundles.get(trial.number),
        "bundle_refused": front.refused.get(trial.number),
    }


def _write_bundle(folder: Path, trial: Trial, evaluation: Evaluation, measured: dict[str, Any]) -> str:
    """Write one bundle; returns its path relative to the run's folder."""
    assert trial.arch is not None and trial.model is not None and trial.ap is not None
    name = f"bundles/{_name(trial.number)}"
    candidate = evaluation.candidate(trial)
    manifest = BundleManifest(
        name=_name(trial.number),
        arch_id=trial.arch.arch_id,
        arch=trial.arch.to_json(),
        class_names=evaluation.val_data.class_names,
        preprocess=candidate.preprocess,
        head=candidate.head,
        selection=candidate.selection,
        nms=evaluation.target.spec.nms,
        metrics={"ap": trial.ap, "ap50": trial.ap50, "macs": trial.macs, "params": trial.params, **measured},
    )
    model = evaluation.artefacts.path(trial.model, verify=True)
    ap = trial.ap if evaluation.judge.spec.engine == "ort" else None
    write_student(folder / name, evaluation.load_detector(trial), model, manifest, evaluation.val_data, ap)
    return name


def _is_whole(folder: Path, name: str | None) -> bool:
    if name is None:
        return False
    try:
        open_bundle(folder / name)
    except DeployError:
        return False
    return True


def _name(number: int) -> str:
    return "base" if number == 0 else f"student-{number:03d}"
