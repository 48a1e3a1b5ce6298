"""The front as a table for a terminal of 80 columns."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from deploy.foreign import make_printable
from optimizer.handover.front import Export, Front

__all__ = ["front_table"]

NAME_LIMIT = 30  # characters of a target's


def front_table(front: Front) -> Table:
    """The base, the students on the front and those that were asked for, best AP first; then their other exports."""
    table = Table(title="Pareto set", title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("student")
    further = front.further_targets
    own = () if front.kind.is_latency or not front.kind.is_measured else (front.kind.unit,)
    for name in ("AP", "AP50", "ms (95 %)" if front.by_latency else "GMAC", *own, "vs base", "params", "score"):
        table.add_column(name, justify="right")
    for name in further:
        assert front.base is not None
        unit = front.base.elsewhere[name].cost_kind.unit
        table.add_column(Text(f"{unit} on {make_printable(front.find_target(name), NAME_LIMIT)}"), justify="right")
    for export in sorted(front.plain.values(), key=_by_ap):
        if export.on_front or export.of_base or export in front.beaten:
            _add_row(table, export, front)
    for export in sorted(front.others, key=_by_ap):
        _add_row(table, export, front)
    return table


def _by_ap(export: Export) -> float:
    return -export.ap


def _add_row(table: Table, export: Export, front: Front) -> None:
    beaten = not export.on_front and export.is_plain
    table.add_row(
        export.name + (" (infeasible)" if export.breach is not None else " (beaten)" if beaten else ""),
        f"{export.ap:.3f}",
        f"{export.ap50:.3f}",
        str(export.latency or f"{export.counts.macs / 1e9:.2f}"),
        *([f"{export.energy_mj:.1f}"] if front.kind.name == "energy" and export.energy_mj is not None else []),
        f"{export.change:+.0%}",
        f"{export.counts.params / 1e6:.1f} M",
        f"{export.score:.3f}",
        *(_describe(export, name) for name in front.further_targets),
        style="bold" if export.on_front and not export.of_base else "",
    )


def _describe(export: Export, name: str) -> str:
    """A further cost; other exports than the plain one are measured on the first target alone."""
    cost = export.elsewhere[name]
    return str(cost) if export.is_plain or not cost.cost_kind.is_latency else "-"
