"""The Pareto set of a run as values, read from its database, and `front.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from deploy.files import write_file
from optimizer.arch.macs import Cost
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError
from optimizer.handover.state import HandOverState
from optimizer.handover.variants import KEPT, PLAIN, Variant, VariantResult, name_export, summarise_tried
from optimizer.search.base import DoneTrial, list_done
from optimizer.search.constraints import UNCONSTRAINED, Breach, Constraints, Figures
from optimizer.search.costs import COSTS, CostKind
from optimizer.search.latency import FurtherCost, LatencyFigures
from optimizer.search.pareto import hypervolume, hypervolume_of_many, pareto_front
from optimizer.store.run_store import RunStore
from optimizer.store.values import read_mapping

__all__ = ["Export", "Front", "find_front", "make_front", "read_constraints", "write_front"]

NOISE = 0.01  # costs closer than this do not evict each other from the front


@dataclass(frozen=True)
class Export:
    """One model that a device can be given: the weights of a trial, exported in one way.

    Attributes:
        ap, ap50, counts, score: of this very export.
        ratio: cost of the base's plain export divided by this one's; of the final lease where there was one.
        latency: with memory and energy where they were measured; None in runs that score by operations.
        elsewhere: what the plain export of the trial costs besides, by name; of others their own energy.
        model_bytes: size of its ONNX file; None where that is not known.
        bundle: its path relative to the run's folder; None where none is written. refused: why none will be.
        on_front: whether no other export of the run beats it.
        breach: how it breaks what is needed of a student, so that it is no candidate of the front.
    """

    trial: DoneTrial
    variant: Variant
    ap: float
    ap50: float
    counts: Cost
    score: float
    ratio: float
    latency: LatencyFigures | None
    bundle: str | None
    refused: str | None = None
    on_front: bool = False
    model_bytes: int | None = None
    breach: Breach | None = None
    elsewhere: Mapping[str, FurtherCost] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return name_export(self.trial.number, self.variant)

    @property
    def is_plain(self) -> bool:
        """Whether it is the export that the search saw."""
        return self.variant == PLAIN

    @property
    def of_base(self) -> bool:
        return self.trial.number == 0

    @property
    def arch(self) -> ArchSpec:
        return self.variant.change_arch(self.trial.arch)

    @property
    def region_proposals(self) -> int | None:
        """None where the head has none."""
        return getattr(self.arch.head, "region_proposals", None)

    @property
    def memory_mib(self) -> float | None:
        """Peak memory on the target; None where it was not measured."""
        return None if self.latency is None else self.latency.memory_mib

    @property
    def energy_mj(self) -> float | None:
        """Energy of an image on the target; None where it was not metered."""
        return None if self.latency is None else self.latency.energy_mj

    @property
    def change(self) -> float:
        """Cost compared with the base: -0.2 is 20 % less."""
        return 1 / self.ratio - 1

    @property
    def costs(self) -> tuple[float, ...]:
        """What decides first, then further ones, on other targets or of other kinds; as shares of the base's."""
        return (1 / self.ratio, *(1 / cost.ratio for _, cost in sorted(self.elsewhere.items())))

    def to_json(self) -> dict[str, Any]:
        """An entry of `front.json`."""
        proposal = self.trial.proposal
        elsewhere = {name: cost.to_front() for name, cost in self.elsewhere.items() if cost.cost_kind.is_latency}
        ratios = {cost.kind: cost.ratio for cost in self.elsewhere.values() if not cost.cost_kind.is_latency}
        return {
            "name": self.name,
            "trial": self.trial.number,
            "arch": self.arch.to_json(),
            "arch_id": self.arch.arch_id,
            "input_size": list(self.arch.input_size),
            "precision": self.variant.precision,
            "region_proposals": self.region_proposals,
            "ap": self.ap,
            "ap50": self.ap50,
            "macs": self.counts.macs,
            "flops_mmdet": self.counts.flops_mmdet,
            "params": self.counts.params,
            "latency_ms": {
                **({self.latency.target: self.latency.to_json()} if self.latency else {}),
                **(elsewhere if self.is_plain else {}),
            },
            "latency_of_base_over_own": self.ratio,
            **{f"{kind}_of_base_over_own": ratio for kind, ratio in ratios.items()},
            "score": self.score,
            "epochs_total": self.trial.work.epochs_total,
            "parent": proposal.parent,
            "actions": [action.to_json() for action in proposal.actions],
            "teacher": proposal.teacher.to_json() if proposal.teacher is not None else None,
            **({"taught": proposal.taught} if proposal.taught is not None else {}),
            "bundle": self.bundle,
            "bundle_refused": self.refused,
            **({} if self.is_plain and (self.on_front or self.of_base) else {"on_front": self.on_front}),
            **({} if self.model_bytes is None else {"model_bytes": self.model_bytes}),
            **({} if self.energy_mj is None else {"energy_mj": self.energy_mj}),
            **({} if self.memory_mib is None else {"memory_mib": self.memory_mib}),
            **({} if self.breach is None else {"infeasible": self.breach.text}),
        }


@dataclass(frozen=True)
class Front:
    """The Pareto set as it stands, and what it was found among.

    Attributes:
        plain: the plain export of every finished trial, by number.
        others: other exports that were kept.
        best: the exports on the front, plain and other, cheapest first.
        beaten: plain exports of students that are handed over all the same, because they were asked for.
        tried: every other export that was tried, of students and base.
        wanted: what is needed of a student.
        kind: what students are scored by.
    """

    plain: Mapping[int, Export]
    others: tuple[Export, ...]
    best: tuple[Export, ...]
    tried: tuple[VariantResult, ...]
    beaten: tuple[Export, ...] = ()
    wanted: Constraints = UNCONSTRAINED
    kind: CostKind = COSTS["latency"]

    @property
    def base(self) -> Export | None:
        """None before it is trained."""
        return self.plain.get(0)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Trials whose plain export is on the front, cheapest first; 0 is the base, if nothing beats it."""
        return tuple(export.trial.number for export in self.best if export.is_plain)

    @property
    def by_latency(self) -> bool:
        """Whether latencies are known."""
        return self.base is not None and self.base.latency is not None

    @property
    def reasons(self) -> dict[str, str]:
        """Why each of the other exports was not kept, by name."""
        return {item.name: f"{item.outcome}: {item.reason}" for item in self.tried if item.reason}

    @property
    def summary(self) -> str:
        """What became of the other exports, in a line; empty if there was none."""
        return summarise_tried(self.tried)

    @property
    def infeasible(self) -> tuple[Export, ...]:
        """The exports of students that break what is needed of one, those that come nearest first."""
        found = [(e.breach.excess, e) for e in (*self.plain.values(), *self.others) if e.breach and not e.of_base]
        return tuple(export for _, export in sorted(found, key=lambda entry: entry[0]))

    @property
    def shortfall(self) -> str:
        """That no student is what is needed, and which comes nearest; empty where one is, or nothing was asked."""
        students = [export for export in (*self.plain.values(), *self.others) if not export.of_base]
        if not str(self.wanted) or any(export.ap and export.breach is None for export in students):
            return ""
        text = f"no student is what was asked for ({self.wanted})"
        for export in self.infeasible[:1]:
            assert export.breach is not None
            return f"{text}; the nearest is {export.name}, AP {export.ap:.3f}: {export.breach.text}"
        return f"{text}; none that detects anything was trained"

    @property
    def further_targets(self) -> tuple[str, ...]:
        """Names of the further costs: targets beside the one that decides, and energy."""
        return tuple(sorted(self.base.elsewhere)) if self.base is not None else ()

    def find_target(self, name: str) -> str:
        """Where a further cost of this name is measured."""
        assert self.base is not None and self.base.latency is not None
        return name if self.base.elsewhere[name].cost_kind.is_latency else self.base.latency.target

    @property
    def hypervolume(self) -> float:
        """What the front beats of all APs, and of all costs below the base's.

        Raises:
            InputError: there are several costs, and moocore is not installed.
        """
        points = [(export.ap, *export.costs) for export in self.best]
        return hypervolume_of_many(points) if self.further_targets else hypervolume([(ap, cost) for ap, cost in points])

    def find_cost(self, export: Export, target: str | None = None) -> float:
        """The base's cost in the unit of its kind, divided by the export's ratio to it; counted ones are its own.

        Of a further cost where one is named, in its own unit. Leases of different minutes are not comparable in
        milliseconds or millijoules; ratios to the base inside a lease are.
        """
        if not self.kind.is_measured:
            return export.counts.macs / 1e9
        assert self.base is not None
        if target is not None:
            return self.base.elsewhere[target].own / export.elsewhere[target].ratio
        return _read_cost(self.base, self.kind) / export.ratio

    def to_json(self) -> dict[str, Any]:
        """`front.json`."""
        return {
            "cost": self.kind.name,
            "base": self.base.to_json() if self.base is not None else None,
            "base_variants": [export.to_json() for export in self.others if export.of_base],
            "students": [export.to_json() for export in (*self.best, *self.beaten) if not export.of_base],
            "variants": {"tried": self.summary, "not_kept": self.reasons},
            **(
                {"asked_for": str(self.wanted), "infeasible": [e.to_json() for e in self.infeasible]}
                if str(self.wanted)
                else {}
            ),
        }


def find_front(store: RunStore, *, before_training: bool = False) -> Front:
    """The front of the trials recorded so far, with the final lease's figures where they exist.

    Args:
        before_training: whether students are to be trained further, so that their AP excludes none of them.
    """
    done, state = list_done(store.history()), HandOverState.from_json(store.handover)
    strange = {item.trial for item in state.tried.values()} - {trial.number for trial in done}
    if strange:
        raise InputError(f"the run is damaged: it has no finished trial {min(strange)}, and exports of it")
    for item in state.tried.values():
        if item.outcome == KEPT and (None in item.figures or not item.ratio or item.latency is None):
            raise InputError(f"the run is damaged: its export {item.name} is kept without its figures")
    _require_same_targets(done, state)
    asked = read_constraints(store)
    wanted = asked.of_architecture if before_training else asked
    return make_front(done, state, store.asked_for, wanted, _read_kind(store))


def _read_kind(store: RunStore) -> CostKind:
    """What a run scores by."""
    name = read_mapping(store.config.get("search", {})).get("cost", "latency")
    if name not in COSTS:
        raise InputError(f"the run is damaged: {name!r:.80} is nothing that students are scored by")
    return COSTS[name]


def _require_same_targets(done: Sequence[DoneTrial], state: HandOverState) -> None:
    measured = state.measured or {}
    for number, costs in (*((t.number, t.elsewhere) for t in done), *((n, c.elsewhere) for n, c in measured.items())):
        if set(costs) != set(done[0].elsewhere):
            raise InputError(f"the run is damaged: trial {number} has latencies on other targets than trial 0")


def read_constraints(store: RunStore) -> Constraints:
    """What a run needs of a student; nothing where it began before there were constraints."""
    try:
        return Constraints.model_validate(store.config.get("constraints", {}))
    except ValidationError as error:
        raise InputError(f"the run is damaged: its constraints cannot be read ({error.errors()[0]['msg']})") from error


def make_front(
    done: Sequence[DoneTrial],
    state: HandOverState,
    asked_for: Sequence[int] = (),
    wanted: Constraints = UNCONSTRAINED,
    kind: CostKind = COSTS["latency"],
) -> Front:
    """The front of these trials; after the final lease, of those that were measured in it.

    Args:
        asked_for: numbers of the trials that are handed over wherever they are.
        wanted: what breaks these is no candidate, not even the base, which is handed over all the same.
    """
    plain = {trial.number: _make_plain(trial, state) for trial in done}
    base_ms = plain[0].latency.median_ms if 0 in plain and plain[0].latency is not None else None
    if base_ms is None and 0 in plain:
        kind = COSTS["macs"]
    if not kind.is_latency:  # ratios are of another cost, and each latency its own
        base_ms = None
    for export in plain.values() if kind.name == "energy" else ():
        if not _read_cost(export, kind) > 0:
            raise InputError(f"the run is damaged: {export.name} was measured without its {kind.noun}")
    plain = {number: _judge(export, wanted, base_ms) for number, export in plain.items()}
    tried = tuple(state.tried.values())
    others = [_judge(_make_other(plain[item.trial], item), wanted, base_ms) for item in tried if item.outcome == KEPT]
    measured = plain if state.measured is None else state.measured
    candidates = [*(e for n, e in plain.items() if n in measured and (e.ap or e.of_base)), *others]
    points = [export for export in candidates if export.breach is None and not export.trial.files.dropped]
    chosen = pareto_front([point.ap for point in points], [point.costs for point in points], NOISE)
    best = tuple(replace(points[index], on_front=True) for index in chosen)
    on_front = {export.name: export for export in best}
    return Front(
        plain={number: on_front.get(export.name, export) for number, export in plain.items()},
        others=tuple(on_front.get(export.name, export) for export in others),
        best=best,
        tried=tried,
        beaten=tuple(plain[number] for number in asked_for if number in plain and plain[number].name not in on_front),
        wanted=wanted,
        kind=kind,
    )


def _read_cost(export: Export, kind: CostKind) -> float:
    """What was measured of an export, in the unit of this kind; 0 where that was not."""
    if export.latency is None:
        return 0.0
    return export.latency.median_ms if kind.is_latency else export.latency.energy_mj or 0.0


def write_front(path: Path, front: Front) -> None:
    """Write `front.json`; whole at any moment."""
    write_file(path, (json.dumps(front.to_json(), indent=2) + "\n").encode())


def _make_plain(trial: DoneTrial, state: HandOverState) -> Export:
    final = (state.measured or {}).get(trial.number)
    record = final.latency if final is not None and final.latency is not None else trial.latency
    return Export(
        trial,
        PLAIN,
        trial.ap,
        trial.ap50,
        trial.counts,
        trial.score,
        ratio=final.ratio if final is not None else trial.cost_ratio,
        latency=LatencyFigures.from_record(record) if record is not None else None,
        bundle=state.bundles.get(trial.number),
        refused=state.refused.get(trial.number),
        model_bytes=trial.files.model_bytes,
        elsewhere=trial.elsewhere if final is None else final.elsewhere,
    )


def _make_other(plain: Export, item: VariantResult) -> Export:
    assert item.ap is not None and item.ap50 is not None and item.ratio is not None and item.latency is not None
    assert item.macs is not None and item.flops_mmdet is not None
    return replace(
        plain,
        variant=item.variant,
        ap=item.ap,
        ap50=item.ap50,
        counts=replace(plain.counts, macs=item.macs, flops_mmdet=item.flops_mmdet),
        score=item.score or 0.0,
        ratio=item.ratio,
        latency=LatencyFigures.from_record(item.latency),
        bundle=item.bundle,
        refused=None,
        model_bytes=item.model_bytes,
        elsewhere={**plain.elsewhere, **item.elsewhere},
    )


def _judge(export: Export, wanted: Constraints, base_ms: float | None) -> Export:
    """With how it breaks what is wanted.

    Milliseconds are the base's divided by the ratio where one is given, as in `Front.find_cost`, else its own.
    """
    own_ms = export.latency.median_ms if export.latency is not None else None
    latency_ms = own_ms if base_ms is None else base_ms / export.ratio
    figures = Figures(export.ap, latency_ms, export.model_bytes, export.memory_mib)
    return replace(export, breach=wanted.find_breach(figures))
