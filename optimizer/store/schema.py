"""The tables of `run.db`, and rows to trials and back."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import fields
from typing import Any

from optimizer.arch.actions import action_from_json
from optimizer.arch.pool import Subnet
from optimizer.arch.spec import ArchSpec
from optimizer.search.base import Proposal, Trial

__all__ = ["COLUMNS", "SCHEMA_VERSION", "TABLES", "row_from_trial", "trial_from_row"]

SCHEMA_VERSION = 1
COLUMNS = tuple(field.name for field in fields(Trial))
JSON_COLUMNS = {"proposal", "arch", "latency", "curve", "details"}
TABLES = """
create table meta (key text primary key, value text not null);
create table trials (
    number integer primary key,
    proposal text not null,
    status text not null check (status in ('pending', 'done', 'failed')),
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


def row_from_trial(trial: Trial) -> tuple[Any, ...]:
    """Values in the order of `COLUMNS`; equal trials give equal rows."""
    values = {name: getattr(trial, name) for name in COLUMNS}
    values["proposal"] = {
        "parent": trial.proposal.parent,
        "actions": [action.to_json() for action in trial.proposal.actions],
        "note": trial.proposal.note,
        "teacher": trial.proposal.teacher.to_json() if trial.proposal.teacher is not None else None,
        "subnet": trial.proposal.subnet.to_json() if trial.proposal.subnet is not None else None,
        "finetune": trial.proposal.finetune,
    }
    values["arch"] = trial.arch.to_json() if trial.arch is not None else None
    for name in JSON_COLUMNS:
        if values[name] is not None:
            values[name] = json.dumps(values[name], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return tuple(values[name] for name in COLUMNS)


def trial_from_row(row: sqlite3.Row) -> Trial:
    """The inverse of `row_from_trial`."""
    values = dict(row)
    for name in JSON_COLUMNS:
        if values[name] is not None:
            values[name] = json.loads(values[name])
    proposal = values["proposal"]
    teacher, subnet = proposal.get("teacher"), proposal.get("subnet")  # absent in databases of the first release
    values["proposal"] = Proposal(
        proposal["parent"],
        tuple(action_from_json(action) for action in proposal["actions"]),
        proposal["note"],
        Subnet.from_json(teacher) if teacher is not None else None,
        Subnet.from_json(subnet) if subnet is not None else None,
        proposal.get("finetune", False),
    )
    if values["arch"] is not None:
        values["arch"] = ArchSpec.from_json(values["arch"])
    values["curve"] = tuple((int(step), float(loss)) for step, loss in values["curve"])
    return Trial(**values)
