"""The Pareto set of a run, read from its database, and `front.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.files import write_file
from optimizer.handover.variants import KEPT, PLAIN, Tried, Variant, name_export, summarise_tried
from optimizer.search.base import DoneTrial, list_done
from optimizer.search.pareto import pareto_front
from optimizer.store.run_store import RunStore

__all__ = ["Front", "find_front", "list_exports", "write_front"]

NOISE = 0.01  # costs closer than this do not evict each other from the front


@dataclass(frozen=True)
class Front:
    """The Pareto set as it stands.

    Attributes:
        numbers: trials whose plain export is on the front, cheapest first; 0 is the base, if nothing beats it.
        latency, ratios: record (JSON) and base-to-trial latency ratio of every trial that has them, by number; of the
            final lease where there was one.
        bundles: path of each bundle, relative to the run's folder.
        refused: why a bundle was not written, by number.
        tried: every other export that was tried, of students and base; `exports`: those of them that were kept.
        names: of all exports on the front, plain and other.
    """

    numbers: tuple[int, ...]
    latency: Mapping[int, Mapping[str, Any]]
    ratios: Mapping[int, float]
    bundles: Mapping[int, str] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    tried: tuple[Tried, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def exports(self) -> tuple[Tried, ...]:
        return tuple(item for item in self.tried if item.outcome == KEPT)

    @property
    def reasons(self) -> dict[str, str]:
        """Why each of the others was not kept, by name."""
        return {item.name: f"{item.outcome}: {item.reason}" for item in self.tried if item.reason}


def find_front(store: RunStore) -> Front:
    """The front of the trials recorded so far, with the final lease's figures where they exist."""
    done = list_done(store.history())
    handed: dict[str, Any] = store.get_meta("handover", {})
    final: dict[str, Any] = handed.get("measured", {})
    latency = {trial.number: trial.latency for trial in done if trial.latency is not None}
    ratios = {trial.number: trial.cost_ratio for trial in done}
    for number, measured in final.items():
        ratios[int(number)] = measured["ratio"]
        if measured["latency"] is not None:
            latency[int(number)] = measured["latency"]
    tried = tuple(Tried.from_json(item) for item in handed.get("tried", {}).values())
    plain = [
        (trial.number, PLAIN, trial.ap, ratios[trial.number])
        for trial in done
        if (trial.ap or trial.number == 0) and (not final or str(trial.number) in final)
    ]
    other = [(item.trial, item.variant, item.ap or 0.0, item.ratio or 1.0) for item in tried if item.outcome == KEPT]
    points: list[tuple[int, Variant, float, float]] = [*plain, *other]
    chosen = [points[index] for index in pareto_front([p[2] for p in points], [1 / p[3] for p in points], NOISE)]
    return Front(
        numbers=tuple(number for number, variant, _, _ in chosen if variant == PLAIN),
        latency=latency,
        ratios=ratios,
        bundles={int(number): path for number, path in handed.get("bundles", {}).items()},
        refused={int(number): reason for number, reason in handed.get("refused", {}).items()},
        tried=tried,
        names=tuple(name_export(number, variant) for number, variant, _, _ in chosen),
    )


def write_front(path: Path, store: RunStore) -> None:
    """`front.json`: the base, its other exports, and what of the students is on the front; whole at any moment."""
    front = find_front(store)
    trials = {trial.number: trial for trial in list_done(store.history())}
    students = {name_export(number): _describe_plain(trials[number], front) for number in front.numbers if number != 0}
    others = {entry["name"]: entry for entry in list_exports(front, trials)}
    content = {
        "base": _describe_plain(trials[0], front) if 0 in trials else None,
        "base_variants": [entry for entry in others.values() if entry["trial"] == 0],
        "students": [{**students, **others}[name] for name in front.names if not name.startswith(name_export(0))],
        "variants": {"tried": summarise_tried(front.tried), "not_kept": front.reasons},
    }
    write_file(path, (json.dumps(content, indent=2) + "\n").encode())


def list_exports(front: Front, trials: Mapping[int, DoneTrial]) -> list[dict[str, Any]]:
    """The kept variants as `front.json` has them: the keys of a plain export with figures of their own, and `on_front`.

    Args:
        trials: by number.
    """
    return [
        {
            **_describe(trials[item.trial], item.variant, item.latency, item.ratio),
            **{"ap": item.ap, "ap50": item.ap50, "macs": item.macs, "flops_mmdet": item.flops_mmdet},
            **{
                "score": item.score,
                "bundle": item.bundle,
                "bundle_refused": None,
                "on_front": item.name in front.names,
            },
        }
        for item in front.exports
    ]


def _describe_plain(trial: DoneTrial, front: Front) -> dict[str, Any]:
    described = _describe(trial, PLAIN, front.latency.get(trial.number), front.ratios.get(trial.number))
    return {**described, "bundle": front.bundles.get(trial.number), "bundle_refused": front.refused.get(trial.number)}


def _describe(
    trial: DoneTrial, variant: Variant, record: Mapping[str, Any] | None, ratio: float | None
) -> dict[str, Any]:
    arch = variant.change_arch(trial.arch)
    shown = {"median": "median_ms", "p90": "p90_ms", "p99": "p99_ms", "ci95": "ci95_ms"}
    return {
        "name": name_export(trial.number, variant),
        "trial": trial.number,
        "arch": arch.to_json(),
        "arch_id": arch.arch_id,
        "input_size": list(arch.input_size),
        "precision": variant.precision,
        "region_proposals": getattr(arch.head, "region_proposals", None),
        "ap": trial.ap,
        "ap50": trial.ap50,
        "macs": trial.counts.macs,
        "flops_mmdet": trial.counts.flops_mmdet,
        "params": trial.counts.params,
        "latency_ms": {record["target"]: {name: record[key] for name, key in shown.items()}} if record else {},
        "latency_of_base_over_own": ratio,
        "score": trial.score,
        "epochs_total": trial.work.epochs_total,
        "parent": trial.proposal.parent,
        "actions": [action.to_json() for action in trial.proposal.actions],
        "teacher": trial.proposal.teacher.to_json() if trial.proposal.teacher is not None else None,
    }
