"""The front as a table for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from optimizer.search.base import DoneTrial

__all__ = ["front_table"]


def front_table(
    trials: Sequence[DoneTrial],
    front: Sequence[int],
    latency: Mapping[int, Mapping[str, Any]],
    ratios: Mapping[int, float],
    exports: Sequence[Mapping[str, Any]] = (),
) -> Table:
    """The base and the students on the front, best AP first; then their other exports, as `front.json` has them."""
    by_latency = bool(latency)
    table = Table(title="Pareto set", title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("student")
    table.add_column("AP", justify="right")
    table.add_column("AP50", justify="right")
    table.add_column("ms (95 %)" if by_latency else "GMAC", justify="right")
    table.add_column("vs base", justify="right")
    table.add_column("params", justify="right")
    table.add_column("score", justify="right")
    shown = [trial for trial in trials if trial.number in front or trial.number == 0]
    for trial in sorted(shown, key=lambda trial: -trial.ap):
        name = "base" if trial.number == 0 else f"student-{trial.number:03d}"
        if trial.number == 0 and 0 not in front:
            name += " (beaten)"
        cost = f"{trial.counts.macs / 1e9:.2f}"
        if by_latency:
            record = latency[trial.number]
            cost = "{:.1f} ({:.1f}-{:.1f})".format(record["median_ms"], *record["ci95_ms"])
        ratio = ratios.get(trial.number, trial.cost_ratio)
        table.add_row(
            name,
            f"{trial.ap:.3f}",
            f"{trial.ap50:.3f}",
            cost,
            f"{1 / ratio - 1:+.0%}",
            f"{trial.counts.params / 1e6:.1f} M",
            f"{trial.score:.3f}",
            style="bold" if trial.number in front and trial.number else "",
        )
    for export in sorted(exports, key=lambda export: -export["ap"]):
        (cost,) = export["latency_ms"].values()
        table.add_row(
            export["name"],
            f"{export['ap']:.3f}",
            f"{export['ap50']:.3f}",
            "{:.1f} ({:.1f}-{:.1f})".format(cost["median"], *cost["ci95"]),
            f"{1 / export['latency_of_base_over_own'] - 1:+.0%}",
            f"{(export['params'] or 0) / 1e6:.1f} M",
            f"{export['score'] or 0:.3f}",
            style="bold" if export["on_front"] and export["trial"] else "",
        )
    return table
