"""The tables of `run.db`, and rows to trials and back."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from typing import Any

from deploy.foreign import make_printable
from deploy.pipeline.nms import parse_selection
from optimizer.arch.actions import action_from_json
from optimizer.arch.macs import Cost
from optimizer.arch.spec import ArchSpec
from optimizer.arch.subnets import subnet_from_json
from optimizer.search.base import (
    DoneTrial,
    FailedTrial,
    PendingTrial,
    Proposal,
    ScreenedTrial,
    Trial,
    TrialFiles,
    Work,
)
from optimizer.search.latency import FurtherCost, LatencyFigures
from optimizer.store.values import parse_value, read_hash, read_list, read_mapping, read_number, read_text, read_whole

__all__ = [
    "COLUMNS", "LEAST_RATIO", "READABLE_VERSIONS", "SCHEMA_VERSION", "TABLES", "list_strange_objects",
    "read_elsewhere", "row_from_trial", "trial_from_row",
]  # fmt: skip

SCHEMA_VERSION = 2
LEAST_RATIO = 1e-12  # of costs; one is divided by it
READABLE_VERSIONS = (1, 2)  # a run of version 1 goes on in its own tables: no method of its time screens students
COLUMNS = (
    "number", "proposal", "status", "arch", "ap", "ap50", "macs", "flops_mmdet", "params", "cost_ratio", "score",
    "latency", "weights", "model", "epochs_total", "seconds", "curve", "error", "details",
)  # fmt: skip
TABLES = """
create table meta (key text primary key, value text not null);
create table trials (
    number integer primary key,
    proposal text not null,
    status text not null check (status in ('pending', 'done', 'failed', 'screened')),
    arch text,
    ap real, ap50 real,
    macs integer, flops_mmdet integer, params integer,
    cost_ratio real, score real,
    latency text,
    weights text, model text,
    epochs_total real not null,
    seconds real not null,
    curve text not null,
    error text,
    details text not null
);
create table events (id integer primary key, time text not null default current_timestamp, text text not null);
"""
TABLES_OF_VERSION_1 = TABLES.replace(", 'screened'", "")


def list_strange_objects(connection: sqlite3.Connection, version: int) -> list[str]:
    """What a database holds besides or in place of our tables: a view or a trigger would run as we read or write."""
    tables = TABLES_OF_VERSION_1 if version == 1 else TABLES
    ours = {_normalise(statement): statement for statement in tables.split(";\n") if statement.strip()}
    strange = []
    objects = "select cast(type as blob), cast(name as blob), cast(sql as blob) from sqlite_master"  # may be no UTF-8
    for row in connection.execute(objects):
        kind, name, statement = ("" if value is None else value.decode(errors="replace") for value in row)
        is_ours = ours.pop(_normalise(statement), None) is not None
        if not is_ours and not (kind == "index" and not statement):  # the latter comes with a table's key
            strange.append(make_printable(f"{kind} {name}", 80))
    return strange + [f"no {statement.split('(')[0].split('create ')[1].strip()}" for statement in ours.values()]


def _normalise(statement: str) -> str:
    return " ".join(statement.lower().split())


def row_from_trial(trial: Trial) -> tuple[Any, ...]:
    """Values in the order of `COLUMNS`; equal trials give equal rows."""
    values: dict[str, Any] = {
        "number": trial.number,
        "proposal": _dump(_json_from_proposal(trial.proposal)),
        "status": trial.status,
        "epochs_total": 0.0,
        "seconds": 0.0,
        "curve": "[]",
        "details": "{}",
    }
    if isinstance(trial, FailedTrial):
        values["error"] = trial.error
    if isinstance(trial, ScreenedTrial):
        values |= _figures_of(trial) | {"seconds": trial.seconds}
    if isinstance(trial, DoneTrial):
        values |= _columns_of(trial)
    return tuple(values.get(name) for name in COLUMNS)


def trial_from_row(row: sqlite3.Row) -> Trial:
    """The inverse of `row_from_trial`.

    Raises:
        InputError, or an error of `optimizer.store.values.DAMAGE`: the row holds what no trial of ours has.
    """
    number, proposal = read_whole(row["number"]), _proposal_from_json(parse_value(row["proposal"]))
    if proposal.parent is not None and proposal.parent >= number:
        raise ValueError(f"its parent is trial {proposal.parent}")
    if row["status"] == "pending":
        return PendingTrial(number, proposal)
    if row["status"] == "failed":
        return FailedTrial(number, proposal, read_text(row["error"]))
    arch = ArchSpec.from_json(parse_value(row["arch"]))
    ap, ap50 = (read_number(row[name], 0, 1) for name in ("ap", "ap50"))
    counts = Cost(*(read_whole(row[name]) for name in ("params", "macs", "flops_mmdet")))
    seconds = read_number(row["seconds"], 0)
    if row["status"] == "screened":
        return ScreenedTrial(number, proposal, arch, ap, ap50, counts, seconds)
    if row["status"] != "done":
        raise ValueError(f"a status {row['status']!r:.20}")
    details = read_mapping(parse_value(row["details"]))
    return DoneTrial(
        number=number,
        proposal=proposal,
        arch=arch,
        ap=ap,
        ap50=ap50,
        counts=counts,
        cost_ratio=read_number(row["cost_ratio"], LEAST_RATIO),
        score=read_number(row["score"] or 0.0),  # version 0.1.0 wrote none for a base that detects nothing
        latency=read_mapping(parse_value(row["latency"])) if row["latency"] is not None else None,
        files=_files_from(row, details),
        work=Work(
            epochs_total=read_number(row["epochs_total"], 0),
            seconds=seconds,
            curve=tuple((read_whole(step), read_number(loss)) for step, loss in parse_value(row["curve"])),
            changes=tuple(read_text(change) for change in read_list(details.get("changes", []))),
            seconds_by_part={
                name: read_number(value, 0) for name, value in read_mapping(details.get("seconds", {})).items()
            },
            judged=tuple((read_whole(epochs), read_number(ap, 0, 1)) for epochs, ap in details.get("judged", ())),
            still_gaining=bool(details.get("still_gaining", False)),
        ),
        elsewhere=read_elsewhere(details.get("elsewhere", {})),
    )


def read_elsewhere(value: Any) -> dict[str, FurtherCost]:
    """What JSON says of further costs, by name; raises as `trial_from_row`."""
    found = {}
    for name, cost in read_mapping(value).items():
        latency = read_mapping(read_mapping(cost)["latency"])
        LatencyFigures.from_record(latency)
        made = FurtherCost(read_number(cost["ratio"], LEAST_RATIO), latency, cost.get("kind", "latency"))
        if made.kind not in ("latency", "energy") or (made.kind == "energy" and not made.own > 0):
            raise ValueError(f"a further cost is {made.kind!r:.40} of {made.figures}")
        found[name] = made
    return found


def _files_from(row: sqlite3.Row, details: dict[str, Any]) -> TrialFiles:
    selection, state, model_bytes = (details.get(name) for name in ("selection", "state", "model_bytes"))
    parse_selection(selection)
    return TrialFiles(
        read_hash(row["weights"]),
        read_hash(row["model"]),
        read_text(details.get("head", "detections")),  # the first release had no other and wrote neither
        selection,
        None if state is None else read_hash(state),
        None if model_bytes is None else read_whole(model_bytes),
        bool(details.get("dropped", False)),
    )


def _figures_of(trial: DoneTrial | ScreenedTrial) -> dict[str, Any]:
    return {"arch": _dump(trial.arch.to_json()), "ap": trial.ap, "ap50": trial.ap50, **asdict(trial.counts)}


def _columns_of(trial: DoneTrial) -> dict[str, Any]:
    """What only a finished trial has; `details` is what has no column of its own."""
    return {
        **_figures_of(trial),
        "cost_ratio": trial.cost_ratio,
        "score": trial.score,
        "latency": _dump(trial.latency) if trial.latency is not None else None,
        "weights": trial.files.weights,
        "model": trial.files.model,
        "epochs_total": trial.work.epochs_total,
        "seconds": trial.work.seconds,
        "curve": _dump(trial.work.curve),
        "details": _dump({
            "changes": trial.work.changes,
            "head": trial.files.head,
            "seconds": trial.work.seconds_by_part,
            "selection": trial.files.selection,
            **({"judged": trial.work.judged} if trial.work.judged else {}),
            **({"state": trial.files.state} if trial.files.state is not None else {}),
            **({"model_bytes": trial.files.model_bytes} if trial.files.model_bytes is not None else {}),
            **({"still_gaining": True} if trial.work.still_gaining else {}),
            **({"dropped": True} if trial.files.dropped else {}),
            **(
                {"elsewhere": {name: cost.to_json() for name, cost in trial.elsewhere.items()}}
                if trial.elsewhere
                else {}
            ),
        }),
    }  # fmt: skip


def _json_from_proposal(proposal: Proposal) -> dict[str, Any]:
    return {
        "parent": proposal.parent,
        "actions": [action.to_json() for action in proposal.actions],
        "note": proposal.note,
        "teacher": proposal.teacher.to_json() if proposal.teacher is not None else None,
        "subnet": proposal.subnet.to_json() if proposal.subnet is not None else None,
        "finetune": proposal.finetune,
        "epochs": proposal.epochs,
        "aim": proposal.aim,
        "arch": proposal.arch.to_json() if proposal.arch is not None else None,
        **({"taught": proposal.taught} if proposal.taught is not None else {}),
    }


def _proposal_from_json(value: dict[str, Any]) -> Proposal:
    teacher, subnet = value.get("teacher"), value.get("subnet")  # absent in databases of the first release
    parent, epochs, aim = value["parent"], value.get("epochs"), value.get("aim")
    arch = value.get("arch")  # and this one in those before whole architectures were proposed
    return Proposal(
        None if parent is None else read_whole(parent),
        tuple(action_from_json(action) for action in read_list(value["actions"])),
        read_text(value["note"]),
        subnet_from_json(teacher) if teacher is not None else None,
        subnet_from_json(subnet) if subnet is not None else None,
        bool(value.get("finetune", False)),
        None if epochs is None else read_whole(epochs),
        None if aim is None else read_number(aim, 0),
        ArchSpec.from_json(arch) if arch is not None else None,
        None if value.get("taught") is None else read_text(value["taught"]),
    )


def _dump(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
