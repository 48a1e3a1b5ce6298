"""`report.html`: one file that needs nothing else, written anew after every trial."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from plotly.offline import get_plotlyjs

from deploy.files import write_file
from optimizer.report.charts import draw_curves, draw_front
from optimizer.search.base import DoneTrial, Proposal, Trial, list_done

__all__ = ["Picture", "ReportData", "write_report"]


@dataclass(frozen=True)
class Picture:
    """One validation image as the base and as the best student see it; PNG or JPEG bytes."""

    caption: str
    base: bytes
    student: bytes


@dataclass(frozen=True)
class ReportData:
    """All that the page shows.

    Attributes:
        title: for example "r18 for cpu".
        status: "running", "interrupted" or "finished", with a phrase.
        finished: whether the page stops reloading itself.
        settings, environment: names and values for the two tables at the end.
        front: numbers of the trials on the front, the base included where it is on it.
        latency: record of each trial as JSON, by number; the ones of the final lease where there was one.
        ratios: latency of the base divided by the trial's, in the lease of that record.
        bundles: path of each bundle relative to the page, by trial number.
        exports: other exports that were kept, each as `front.json` has it.
        tried: how many were tried and what became of them, in a line; not_kept: why the others were not, by name.
    """

    title: str
    status: str
    finished: bool
    settings: Mapping[str, str]
    environment: Mapping[str, str]
    trials: Sequence[Trial]
    trials_wanted: int
    elapsed: str
    front: Sequence[int]
    latency: Mapping[int, Mapping[str, Any]]
    ratios: Mapping[int, float]
    bundles: Mapping[int, str] = field(default_factory=dict)
    exports: Sequence[Mapping[str, Any]] = ()
    tried: str = ""
    not_kept: Mapping[str, str] = field(default_factory=dict)
    best: int | None = None
    pictures: Sequence[Picture] = ()


def write_report(path: Path, data: ReportData) -> None:
    """Write the page so that whoever reads it meanwhile sees the old one or the new one, whole."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("optimizer.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["data_uri"] = _data_uri
    environment.filters["edits"] = describe_edits
    by_number = {trial.number: trial for trial in list_done(data.trials)}
    # leases of different minutes are not comparable in milliseconds, ratios to the base inside a lease are
    latencies = {number: data.latency[0]["median_ms"] / data.ratios[number] for number in data.latency}
    students = sorted((by_number[n] for n in data.front if n in by_number), key=lambda t: -t.ap)
    shown = dict.fromkeys([*(t.number for t in students), *(e["trial"] for e in data.exports if e["on_front"])])
    text = environment.get_template("report.html.j2").render(
        data=data,
        plotly_js=get_plotlyjs(),
        front_chart=draw_front(data.trials, data.front, latencies, data.exports),
        curves_chart=draw_curves(data.trials),
        base=by_number.get(0),
        students=students,
        done=[t for t in by_number.values() if t.number > 0 and not t.proposal.finetune],
        lineages={number: trace_lineage(by_number[number], by_number) for number in shown},
        by_latency=bool(latencies),
        shared_flags=find_shared_flags([data.latency[n] for n in {0, *data.front} if n in data.latency]),
    )
    write_file(path, text.encode())


def describe_edits(proposal: Proposal) -> str:
    """What a student is beside its parent, in a few words."""
    if proposal.subnet is not None:
        return f"from the pool: {proposal.subnet}"
    kinds = ", ".join(action.kind for action in proposal.actions).replace("_", " ")
    return kinds or ("fine-tuned" if proposal.finetune else "trained on")


def find_shared_flags(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What every one of several latency records warns of, in the order of the first; nothing of a single one."""
    if len(records) < 2:
        return []
    return [flag for flag in records[0]["flags"] if all(flag in record["flags"] for record in records)]


def trace_lineage(trial: DoneTrial, by_number: Mapping[int, DoneTrial]) -> list[DoneTrial]:
    """The trials from the base to this one, in order of birth."""
    chain = [trial]
    while chain[0].proposal.parent is not None and chain[0].proposal.parent in by_number:
        chain.insert(0, by_number[chain[0].proposal.parent])
    return chain


def _data_uri(content: bytes) -> str:
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
