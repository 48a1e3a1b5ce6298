"""The charts of the report page, as HTML fragments. plotly.js itself is embedded once by the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from optimizer.search.base import DoneTrial, Trial, list_done

__all__ = ["draw_curves", "draw_front"]

INK, MUTED, ACCENT, BASE, GRID = "#1c2430", "#9aa5b1", "#0b6e4f", "#c2571a", "#e6e9ee"
HEIGHT_PX = 420


def draw_front(
    trials: Sequence[Trial],
    front: Sequence[int],
    latencies_ms: dict[int, float],
    exports: Sequence[Mapping[str, Any]] = (),
) -> str:
    """AP against cost: base, all done trials, kept other exports, the front as a line. Hover tells each one's figures.

    Cost is milliseconds where latencies are known (the base's, divided by each one's ratio to it), else GMAC.
    """
    done = list_done(trials)
    by_latency = bool(latencies_ms)
    shown = [trial for trial in done if not by_latency or trial.number in latencies_ms]

    def cost(trial: DoneTrial) -> float:
        return latencies_ms[trial.number] if by_latency else trial.counts.macs / 1e9

    figure = go.Figure()
    on_front = sorted((trial for trial in shown if trial.number in front), key=cost)
    placed = [(latencies_ms[0] / export["latency_of_base_over_own"], export) for export in exports]
    line = [(cost(trial), trial.ap) for trial in on_front]
    line = sorted([*line, *((ms, export["ap"]) for ms, export in placed if export["on_front"])])
    figure.add_scatter(
        x=[point[0] for point in line],
        y=[point[1] for point in line],
        mode="lines",
        line={"color": ACCENT, "width": 2, "shape": "hv"},
        hoverinfo="skip",
        name="front",
    )
    groups = (
        ("students", [t for t in shown if t.number not in front and t.number != 0], MUTED, "circle", 9),
        ("on the front", [t for t in on_front if t.number != 0], ACCENT, "circle", 13),
        ("base", [t for t in shown if t.number == 0], BASE, "diamond", 14),
    )
    for name, members, colour, symbol, size in groups:
        figure.add_scatter(
            x=[cost(trial) for trial in members],
            y=[trial.ap for trial in members],
            mode="markers",
            marker={"color": colour, "size": size, "symbol": symbol, "line": {"color": "white", "width": 1}},
            text=[_describe(trial, cost(trial), by_latency) for trial in members],
            hovertemplate="%{text}<extra></extra>",
            name=name,
        )
    if placed:
        figure.add_scatter(
            x=[ms for ms, _ in placed],
            y=[export["ap"] for _, export in placed],
            mode="markers",
            marker={
                "color": [BASE if e["trial"] == 0 else ACCENT for _, e in placed],
                "size": 10,
                "symbol": "square-open",
            },
            text=[f"<b>{export['name']}</b><br>AP {export['ap']:.3f}<br>{ms:.2f} ms" for ms, export in placed],
            hovertemplate="%{text}<extra></extra>",
            name="other exports",
        )
    figure.update_xaxes(title="latency on the target, ms (the base's, by ratio to it)" if by_latency else "GMAC")
    figure.update_yaxes(title="AP (COCO, validation)")
    return _render(figure, "front")


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
    return _render(figure, "curves")


def _describe(trial: DoneTrial, cost: float, by_latency: bool) -> str:
    name = "base" if trial.number == 0 else f"trial {trial.number}"
    actions = ", ".join(action.kind.replace("_", " ") for action in trial.proposal.actions) or "no action"
    lines = [
        f"<b>{name}</b>: {actions}",
        *([f"taught by {trial.proposal.teacher}"] if trial.proposal.teacher is not None else []),
        f"AP {trial.ap:.3f}, AP50 {trial.ap50:.3f}",
        f"{cost:.2f} {'ms' if by_latency else 'GMAC'}, {trial.cost_ratio:.2f} times as fast as the base",
        f"{trial.counts.macs / 1e9:.2f} GMAC, {trial.counts.params / 1e6:.2f} M parameters",
        f"score {trial.score:.3f}",
    ]
    return "<br>".join(lines)


def _render(figure: go.Figure, name: str) -> str:
    figure.update_layout(
        height=HEIGHT_PX,
        margin={"l": 60, "r": 16, "t": 16, "b": 48},
        paper_bgcolor="white",
        plot_bgcolor="white",
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        legend={"orientation": "h", "y": 1.08, "x": 0},
        hoverlabel={"bgcolor": "white", "font": {"color": INK}, "align": "left"},
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, linecolor=MUTED)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, linecolor=MUTED)
    return figure.to_html(
        full_html=False, include_plotlyjs=False, div_id=name, config={"displayModeBar": False, "responsive": True}
    )
