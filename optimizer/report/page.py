"""`report.html`: one file that needs nothing else, written anew as trials end (`optimizer.run.gather.is_page_due`)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from deploy.content_policy import write_policy
from deploy.files import write_file
from optimizer.errors import InputError
from optimizer.handover.front import Export, Front
from optimizer.report.analysis import Analysed, draw_distances, draw_losses, has_distances
from optimizer.report.charts import draw_curves, draw_front, draw_growth, draw_judged, draw_time
from optimizer.report.edits import describe_aim, describe_edits
from optimizer.report.filtered import Filtered, draw_operations
from optimizer.report.generations import draw_fitness, draw_places, list_found, list_looks
from optimizer.report.library import list_library_scripts, write_library
from optimizer.report.rounds import fold_rounds, list_aims
from optimizer.report.timeline import find_learning_share, trace_growth
from optimizer.search.base import DoneTrial, Trial, list_done
from optimizer.search.latency import LatencyFigures
from optimizer.search.members import count_rungs

__all__ = ["Picture", "ReportData", "write_report"]

NEWEST = 20  # trials whose losses are drawn, besides those of the base and of the front


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
        front: the Pareto set, with every export it was found among.
        pictures: of the best-scored student, where there is one.
        analysed: what `optimize analyse` found; None where nobody asked.
        seconds_by_part: of the whole run (`split_time`).
        filtered: what a path filter did; None where the run has none.
    """

    title: str
    status: str
    finished: bool
    settings: Mapping[str, str]
    environment: Mapping[str, str]
    trials: Sequence[Trial]
    trials_wanted: int | None
    elapsed: str
    front: Front
    pictures: Sequence[Picture] = ()
    seconds_by_part: Mapping[str, float] = field(default_factory=dict)
    analysed: Analysed | None = None
    filtered: Filtered | None = None


def write_report(path: Path, data: ReportData) -> None:
    """Write the page so that whoever reads it meanwhile sees the old one or the new one, whole."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("optimizer.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["data_uri"] = _data_uri
    environment.filters["edits"] = describe_edits
    environment.filters["aim"] = describe_aim
    front = data.front
    by_number = {trial.number: trial for trial in list_done(data.trials)}
    listed = [*(export for export in front.best if export.is_plain), *front.beaten]
    students = sorted(listed, key=lambda export: -export.ap)
    base = [front.base] if front.base is not None and not front.base.on_front else []
    shown = dict.fromkeys(
        export.trial.number for export in [*students, *(other for other in front.others if other.on_front)]
    )
    base_trial = by_number.get(0)
    aims = list_aims(data.trials)
    drawn = [trial for trial in by_number.values() if trial.number in {0, *shown, *list(by_number)[-NEWEST:]}]
    charts = {"front": draw_front(front, aims), "curves": draw_curves(drawn)}
    fronts = {target: draw_front(front, target=target) for target in front.further_targets}
    if len(by_number) > 1:
        charts["growth"] = draw_growth(trace_growth(data.trials), front.kind)
    if data.seconds_by_part:
        charts["time"] = draw_time(data.seconds_by_part)
    if data.analysed is not None:
        charts["losses"] = draw_losses(data.analysed)
        if has_distances(data.analysed):
            charts["distances"] = draw_distances(data.analysed)
    if list_looks(data.trials):
        charts["fitness"] = draw_fitness(data.trials)
    if found := list_found(data.trials):
        charts["places"] = draw_places(found)
    if data.filtered is not None:
        charts["operations"] = draw_operations(data.filtered)
    judged = next((trial for trial in by_number.values() if trial.work.judged), None)
    if judged is not None:
        charts["judged"] = draw_judged(judged)
    text = environment.get_template("report.html.j2").render(
        data=data,
        library=write_library(),
        front=front,
        charts=charts,
        fronts=fronts,
        volume=_describe_volume(front) if fronts else "",
        learning_share=find_learning_share(data.seconds_by_part) if data.seconds_by_part else None,
        aims=aims,
        entries=fold_rounds(data.trials),
        rungs=count_rungs(data.trials) if aims else {},
        judged=judged,
        newest=NEWEST if len(drawn) < len(by_number) else None,
        still_gaining=base_trial is not None and base_trial.work.still_gaining,
        base=front.base,
        best=max((e for e in front.plain.values() if not e.of_base), key=lambda e: e.score, default=None),
        rows=students + base,
        done=[trial for trial in by_number.values() if trial.number > 0 and not trial.proposal.finetune],
        joined=[trial for trial in by_number.values() if trial.proposal.finetune and trial.proposal.actions],
        lineages={number: trace_lineage(by_number[number], by_number) for number in shown},
        policy=write_policy(list_library_scripts()),
        shared_flags=find_shared_flags([row.latency for row in [*base, *students] if row.latency is not None]),
        flags_elsewhere=_gather_flags([*base, *students]),
    )
    write_file(path, text.encode(errors="backslashreplace"))  # names of files that are not UTF-8


def find_shared_flags(latencies: Sequence[LatencyFigures]) -> list[str]:
    """What every one of several latencies is warned of, in the order of the first; nothing of a single one."""
    if len(latencies) < 2:
        return []
    return [flag for flag in latencies[0].flags if all(flag in other.flags for other in latencies)]


def _describe_volume(front: Front) -> str:
    """Hypervolume over all targets, in words."""
    axes = f"AP and all {1 + len(front.further_targets)} costs"
    try:
        return f"Hypervolume of the front over {axes}, as shares of the base's: {front.hypervolume:.4f}"
    except InputError as error:
        return f"Hypervolume over {axes} was not found: {error}"


def _gather_flags(exports: Sequence[Export]) -> list[str]:
    """What latencies on further targets are warned of, each once: the target, whose they are, and the warnings."""
    found: dict[tuple[str, str], list[str]] = {}
    for export in exports:
        for target, cost in export.elsewhere.items():
            for flag in cost.figures.flags if cost.cost_kind.is_latency else ():
                found.setdefault((target, flag), []).append(export.name)
    return [
        f"{target}, {'all' if len(names) == len(exports) > 1 else ', '.join(names)}: {flag}"
        for (target, flag), names in sorted(found.items())
    ]


def trace_lineage(trial: DoneTrial, by_number: Mapping[int, DoneTrial]) -> list[DoneTrial]:
    """The trials from the base to this one, in order of birth."""
    chain = [trial]
    while chain[0].proposal.parent is not None and chain[0].proposal.parent in by_number:
        chain.insert(0, by_number[chain[0].proposal.parent])
    return chain


def _data_uri(content: bytes) -> str:
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
