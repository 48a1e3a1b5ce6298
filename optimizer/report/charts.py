"""The charts of the report page, as HTML fragments: a place and its data. `optimizer.report.library` draws them."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from optimizer.handover.front import Export, Front
from optimizer.report.edits import describe_edits
from optimizer.report.timeline import Moment
from optimizer.search.base import DoneTrial, Trial, list_done
from optimizer.search.costs import CostKind

__all__ = ["draw_curves", "draw_front", "draw_growth", "draw_judged", "draw_time", "render"]

INK, MUTED, ACCENT, BASE, GRID = "#1c2430", "#9aa5b1", "#0b6e4f", "#c2571a", "#e6e9ee"
HEIGHT_PX, BAR_HEIGHT_PX = 420, 150
PART_COLOURS = {
    "training": ACCENT,
    "screening": "#6db39a",
    "measuring": BASE,
    "export": "#e09a78",
    "AP": "#f1ccba",
    "building students": MUTED,
    "other": GRID,
}  # green learns, orange finds out what came of it


def draw_front(front: Front, aims: Sequence[float] = (), target: str | None = None) -> str:
    """AP against cost: base, all done trials, kept other exports, the front as a line. Hover tells each one's figures.

    Cost is what students are scored by: what was measured of the base, divided by each one's ratio to it, or GMAC.

    Args:
        aims: costs to mark with a thin line, as shares of the base's; needs a base.
        target: a further cost that is meant, by its name; on a further target of plain exports alone, for others are
            made for the first.
    """
    assert target is None or front.base is not None
    kind = front.kind if target is None or front.base is None else front.base.elsewhere[target].cost_kind
    has_others = target is None or not kind.is_latency
    others = front.others if has_others else ()

    def cost(export: Export) -> float:
        return front.find_cost(export, target)

    figure = go.Figure()
    if aims:
        assert front.base is not None
        for aim in aims:
            figure.add_vline(
                aim * cost(front.base), line={"color": MUTED, "width": 1, "dash": "dot"}, layer="below", opacity=0.5
            )
    line = _leave_out_beaten(sorted((cost(e), e.ap) for e in front.best if has_others or e.is_plain))
    figure.add_scatter(
        x=[point[0] for point in line],
        y=[point[1] for point in line],
        mode="lines",
        line={"color": ACCENT, "width": 2, "shape": "hv"},
        hoverinfo="skip",
        name="front",
    )
    students = sorted((export for export in front.plain.values() if not export.of_base), key=cost)
    groups = (
        ("students", [export for export in students if not export.on_front], MUTED, "circle", 9),
        ("on the front", [export for export in students if export.on_front], ACCENT, "circle", 13),
        ("base", [front.base] if front.base is not None else [], BASE, "diamond", 14),
    )
    for name, members, colour, symbol, size in groups:
        figure.add_scatter(
            x=[cost(export) for export in members],
            y=[export.ap for export in members],
            mode="markers",
            marker={"color": colour, "size": size, "symbol": symbol, "line": {"color": "white", "width": 1}},
            text=[_describe(export, cost(export), kind, target) for export in members],
            hovertemplate="%{text}<extra></extra>",
            name=name,
        )
    if others:
        figure.add_scatter(
            x=[cost(export) for export in others],
            y=[export.ap for export in others],
            mode="markers",
            marker={
                "color": [BASE if export.of_base else ACCENT for export in others],
                "size": 10,
                "symbol": "square-open",
            },
            text=[f"<b>{e.name}</b><br>AP {e.ap:.3f}<br>{cost(e):.2f} {kind.unit}" for e in others],
            hovertemplate="%{text}<extra></extra>",
            name="other exports",
        )
    where = "the target" if front.base is None or not front.further_targets else name_target(front, target)
    title = f"{kind.noun} on {where}, {kind.unit} (the base's, by ratio to it)" if kind.is_measured else kind.unit
    figure.update_xaxes(title=title)
    figure.update_yaxes(title="AP (COCO, validation)")
    return render(figure, "front" if target is None else f"front-{front.further_targets.index(target)}")


def name_target(front: Front, target: str | None = None) -> str:
    """A further target, or the one that decides; plotly would take what is between < and > for markup."""
    assert front.base is not None and front.base.latency is not None
    return html.escape(front.base.latency.target if target is None else front.find_target(target))


def _leave_out_beaten(line: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points, cheapest first, that no cheaper one excels: some are on a front for what they cost elsewhere."""
    return [point for place, point in enumerate(line) if all(point[1] >= cheaper[1] for cheaper in line[:place])]


def draw_growth(moments: Sequence[Moment], kind: CostKind) -> str:
    """Hypervolume over the time that trials took, as steps. Hover tells which trial raised it."""
    total = moments[-1].seconds
    unit, name = (3600, "hours") if total > 3 * 3600 else (60, "minutes")
    figure = go.Figure()
    figure.add_scatter(
        x=[moment.seconds / unit for moment in moments],
        y=[moment.volume for moment in moments],
        mode="lines",
        line={"color": ACCENT, "width": 2, "shape": "hv"},
        hoverinfo="skip",
    )
    raised = [moment for moment in moments if moment.raised]
    figure.add_scatter(
        x=[moment.seconds / unit for moment in raised],
        y=[moment.volume for moment in raised],
        mode="markers",
        marker={"color": ACCENT, "size": 9, "line": {"color": "white", "width": 1}},
        text=[_describe_moment(moment, kind) for moment in raised],
        hovertemplate="%{text}<extra></extra>",
    )
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title=f"{name} of trials", rangemode="tozero")
    figure.update_yaxes(title="hypervolume", rangemode="tozero")
    return render(figure, "growth")


def draw_time(parts: Mapping[str, float]) -> str:
    """Seconds by what they went into, as the shares of one bar."""
    total = sum(parts.values())
    figure = go.Figure()
    for label, seconds in parts.items():
        figure.add_bar(
            x=[seconds / total],
            y=[""],
            orientation="h",
            name=f"{label} {seconds / total:.0%}",
            marker={"color": PART_COLOURS[label]},
            hovertemplate=f"{label}: {seconds / 60:.1f} minutes<extra></extra>",
        )
    figure.update_layout(barmode="stack", legend={"traceorder": "normal", "yanchor": "bottom"})
    figure.update_xaxes(range=[0, 1], tickformat=".0%")
    return render(figure, "time", BAR_HEIGHT_PX)


def draw_curves(trials: Sequence[Trial]) -> str:
    """Training loss of every trial over its steps; one line a trial."""
    figure = go.Figure()
    for trial in list_done(trials):
        if trial.work.curve:
            figure.add_scatter(
                x=[step for step, _ in trial.work.curve],
                y=[loss for _, loss in trial.work.curve],
                mode="lines",
                name="base" if trial.number == 0 else f"trial {trial.number}",
                line={"width": 2.5 if trial.number == 0 else 1.3, "color": BASE if trial.number == 0 else None},
            )
    figure.update_xaxes(title="step of that training")
    figure.update_yaxes(title="loss", rangemode="tozero")
    return render(figure, "curves")


def draw_judged(trial: DoneTrial) -> str:
    """AP on the images kept out over the epochs of a training that went on until it stopped gaining."""
    figure = go.Figure()
    figure.add_scatter(
        x=[epochs for epochs, _ in trial.work.judged],
        y=[ap for _, ap in trial.work.judged],
        mode="lines+markers",
        line={"width": 2, "color": BASE if trial.number == 0 else ACCENT},
    )
    figure.update_xaxes(title="epochs")
    figure.update_yaxes(title="AP (COCO, kept images)", rangemode="tozero")
    return render(figure, "judged")


def _describe_moment(moment: Moment, kind: CostKind) -> str:
    trial = moment.trial
    assert isinstance(trial, DoneTrial), "what is only screened is on no front"
    lines = [
        f"<b>trial {trial.number}</b>: {describe_edits(trial.proposal)}",
        f"AP {trial.ap:.3f} at {1 / trial.cost_ratio:.2f} of the base's {kind.noun}",
        f"hypervolume {moment.volume:.4f} after {moment.seconds / 60:.1f} minutes",
    ]
    return "<br>".join(lines)


def _describe(export: Export, cost: float, kind: CostKind, target: str | None) -> str:
    trial = export.trial
    ratio = trial.cost_ratio if target is None else export.elsewhere[target].ratio
    name = "base" if export.of_base else f"trial {trial.number}"
    actions = ", ".join(action.kind.replace("_", " ") for action in trial.proposal.actions)
    actions = actions or ("no action" if trial.proposal.arch is None else describe_edits(trial.proposal))
    lines = [
        f"<b>{name}</b>: {actions}",
        *([f"taught by {trial.proposal.teacher}"] if trial.proposal.teacher is not None else []),
        *([f"distillers: {trial.proposal.taught}"] if trial.proposal.taught is not None else []),
        f"AP {export.ap:.3f}, AP50 {export.ap50:.3f}",
        f"{cost:.2f} {kind.unit}, {ratio:.2f} {kind.better} as the base",
        f"{export.counts.macs / 1e9:.2f} GMAC, {export.counts.params / 1e6:.2f} M parameters",
        f"score {export.score:.3f}",
        *([f"infeasible: {export.breach.text}"] if export.breach is not None else []),
    ]
    return "<br>".join(lines)


def render(figure: go.Figure, name: str, height: int = HEIGHT_PX) -> str:
    """A figure in this page's clothes: an element of this name, and what is to be drawn there."""
    figure.update_layout(
        height=height,
        margin={"l": 60, "r": 16, "t": 16, "b": 48},
        paper_bgcolor="white",
        plot_bgcolor="white",
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        legend={"orientation": "h", "y": 1.08, "x": 0},
        hoverlabel={"bgcolor": "white", "font": {"color": INK}, "align": "left"},
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, linecolor=MUTED)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, linecolor=MUTED)
    data = str(figure.to_json()).replace("<", "\\u003c")  # no name ends the script
    return (
        f'<div id="{name}" style="height: {height}px"></div>'
        f'<script type="application/json" class="chart" data-of="{name}">{data}</script>'
    )
