"""The generations of an evolution: how good the subnets of each limit became, and which blocks were found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import plotly.graph_objects as go

from optimizer.arch.paths import PathSubnet
from optimizer.report.charts import MUTED, render
from optimizer.search.base import DoneTrial, ScreenedTrial, Trial
from optimizer.search.evolution import name_limit

__all__ = ["Found", "draw_fitness", "draw_places", "list_found", "list_looks"]

LIMIT_COLOURS = ("#0b6e4f", "#c2571a", "#3b5b92", "#8a5a9e", "#7a6a2b")
BLOCKS = {"shuffle 3x3": "#cfe8dd", "shuffle 5x5": "#6db39a", "shuffle 7x7": "#0b6e4f", "xception 3x3": "#c2571a"}
ROW_PX, FRAME_PX = 34, 110


def draw_fitness(trials: Sequence[Trial]) -> str:
    """AP of the subnets that were looked at over the time they took, and the best so far, for each limit."""
    figure = go.Figure()
    minutes = 0.0
    for number, (limit, looks) in enumerate(list_looks(trials).items()):
        colour = LIMIT_COLOURS[number % len(LIMIT_COLOURS)]
        at = [minutes + done / 60 for done in accumulate(look.seconds for look in looks)]
        minutes = at[-1]
        aps = [look.ap for look in looks]
        figure.add_scatter(
            x=at, y=aps, mode="markers", marker={"color": colour, "size": 5, "opacity": 0.45}, showlegend=False,
            text=[f"trial {look.number}: {look.proposal.note}<br>AP {look.ap:.3f}" for look in looks],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=at, y=list(accumulate(aps, max)), mode="lines", name=f"best within {name_limit(limit)}", hoverinfo="skip",
            line={"color": colour, "width": 2, "shape": "hv"},
        )  # fmt: skip
    figure.update_xaxes(title="minutes of looking", rangemode="tozero")
    figure.update_yaxes(title="AP (COCO, kept images), untrained")
    return render(figure, "fitness")


class Found(NamedTuple):
    """A path, and how many of its places are in each stage."""

    path: PathSubnet
    depths: tuple[int, ...]


def list_found(trials: Sequence[Trial]) -> dict[str, Found]:
    """The path of each student that was trained; before that, the best that was looked at within each limit."""
    found: dict[str, Found] = {}
    for trial in trials:
        if isinstance(trial, DoneTrial) and isinstance(trial.proposal.subnet, PathSubnet):
            assert trial.proposal.aim is not None
            name = f"trial {trial.number}, within {name_limit(trial.proposal.aim)}"
            found[name] = Found(trial.proposal.subnet, trial.arch.body.depths)
    if not found:
        for limit, looks in list_looks(trials).items():
            best = max(looks, key=lambda look: look.ap)
            if isinstance(best.proposal.subnet, PathSubnet):
                found[f"best so far within {name_limit(limit)}"] = Found(best.proposal.subnet, best.arch.body.depths)
    return found


def draw_places(found: Mapping[str, Found]) -> str:
    """Paths of one space as rows of coloured places, one colour for each kind of block."""
    depths = next(iter(found.values())).depths
    figure = go.Figure()
    rows = [f"{name} ({path.size[0]}x{path.size[1]})" for name, (path, _) in found.items()]
    for choice, (block, colour) in enumerate(BLOCKS.items()):
        cells = [
            (place, row)
            for row, (path, _) in zip(rows, found.values())
            for place, chosen in enumerate(path.choices)
            if chosen == choice
        ]
        figure.add_scatter(
            x=[place + 1 for place, _ in cells], y=[row for _, row in cells], mode="markers", name=block,
            marker={"symbol": "square", "size": 20, "color": colour},
            hovertemplate=f"place %{{x}}: {block}<extra></extra>",
        )  # fmt: skip
    for border in list(accumulate(depths))[:-1]:
        figure.add_vline(border + 0.5, line={"color": MUTED, "width": 1, "dash": "dot"})
    figure.update_xaxes(title="place, from the image on; dotted lines part the stages", range=[0.3, sum(depths) + 0.7])
    figure.update_yaxes(categoryorder="array", categoryarray=rows[::-1], automargin=True)
    return render(figure, "places", FRAME_PX + ROW_PX * len(rows))


def list_looks(trials: Sequence[Trial]) -> dict[float, list[ScreenedTrial]]:
    """The subnets that were looked at, by the limit they were drawn for, in order."""
    looks: dict[float, list[ScreenedTrial]] = {}
    for trial in trials:
        if isinstance(trial, ScreenedTrial) and trial.proposal.subnet is not None:
            assert trial.proposal.aim is not None
            looks.setdefault(trial.proposal.aim, []).append(trial)
    return looks
