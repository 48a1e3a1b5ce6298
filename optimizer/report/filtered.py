"""DetOFA's path filter in the report: how well it ranked, and which operations it left in each bucket of cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import plotly.graph_objects as go

from optimizer.errors import InputError
from optimizer.report.charts import GRID, MUTED, render
from optimizer.store.values import DAMAGE, read_list, read_mapping, read_number, read_text, read_whole

__all__ = ["Filtered", "draw_operations"]

KINDS = {"depth": ("depth D", "#3b5b92"), "width": ("width W", "#c2571a"), "expand": ("inner width E", "#0b6e4f")}
ROW_PX, FRAME_PX = 20, 130
MEASURES = ("accuracy", "precision", "recall", "tau")


class Choices(NamedTuple):
    """What there is to choose in one place of a network, ascending."""

    name: str
    kind: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Filtered:
    """What a path filter did in the training of a super-network.

    Attributes:
        agreement: by when the filter was fitted, each of `MEASURES` on paths held out; None where it is not defined.
        paths: judged each time; a fifth of them is held out.
        by: what the buckets are of, in words. ends: the dearest of each bucket, as shares of the largest subnet.
        classified: judged by how well they classify before that, to pre-train the filter; 0 where it was not.
        slots: every choice. allowed: of each bucket and slot, which values are left.
    """

    agreement: Mapping[str, Mapping[str, float | None]]
    paths: int
    by: str
    ends: tuple[float, ...]
    slots: tuple[Choices, ...]
    allowed: tuple[tuple[tuple[bool, ...], ...], ...]
    classified: int = 0

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Filtered:
        """What `optimizer.supernet.filtering.FilterGuide.describe` tells.

        Raises:
            InputError: it is damaged.
        """
        try:
            return Filtered(
                {when: _read_shares(found) for when, found in read_mapping(value["agreement"]).items()},
                read_whole(value["paths"]),
                read_text(value["by"]),
                tuple(read_number(end, 0, 1) for end in read_list(value["ends"])),
                tuple(_read_choices(slot) for slot in read_list(value["slots"])),
                tuple(tuple(tuple(map(bool, row)) for row in bucket) for bucket in read_list(value["allowed"])),
                read_whole(value.get("classified", 0)),  # earlier runs say nothing of it
            )
        except (InputError, *DAMAGE) as error:
            raise InputError(f"what the run keeps of its path filter is damaged: {error!r:.80}") from error

    @property
    def left(self) -> list[float]:
        """The share of the operations that is left in each bucket."""
        return [sum(map(sum, bucket)) / sum(map(len, bucket)) for bucket in self.allowed]


def _read_shares(found: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: None if found[name] is None else read_number(found[name], -1, 1) for name in MEASURES}


def _read_choices(slot: Any) -> Choices:
    name, kind, values = read_list(slot)
    return Choices(read_text(name), read_text(kind), tuple(map(float, read_list(values))))


def draw_operations(filtered: Filtered) -> str:
    """Buckets from the cheapest up, in each a row for every choice, in each row a square for every place."""
    rows = max(len(slot.values) for slot in filtered.slots)
    figure = go.Figure()
    for kind, (name, colour) in KINDS.items():
        _add_squares(figure, filtered, rows, kind, name, colour)
    for bucket in range(1, len(filtered.allowed)):
        figure.add_hline(bucket * (rows + 1) - 1, line={"color": MUTED, "width": 1, "dash": "dot"})
    centres = [bucket * (rows + 1) + (rows - 1) / 2 for bucket in range(len(filtered.allowed))]
    names = [f"up to {end:.0%}<br>{share:.0%} left" for end, share in zip(filtered.ends, filtered.left, strict=True)]
    figure.update_yaxes(tickvals=centres, ticktext=names, title=f"bucket of {filtered.by}", showgrid=False)
    figure.update_xaxes(
        tickvals=list(range(len(filtered.slots))), ticktext=[slot.name for slot in filtered.slots], tickangle=-90,
        showgrid=False,
    )  # fmt: skip
    return render(figure, "operations", FRAME_PX + ROW_PX * (rows + 1) * len(filtered.allowed))


def _add_squares(figure: go.Figure, filtered: Filtered, rows: int, kind: str, name: str, colour: str) -> None:
    cells: list[tuple[int, int, str, str]] = []
    for bucket, allowed in enumerate(filtered.allowed):
        for place, (slot, kept) in enumerate(zip(filtered.slots, allowed, strict=True)):
            if slot.kind == kind:
                cells += [
                    (place, bucket * (rows + 1) + row, colour if left else GRID, _describe(slot, row, bucket, left))
                    for row, left in enumerate(kept)
                ]
    figure.add_scatter(
        x=[cell[0] for cell in cells], y=[cell[1] for cell in cells], mode="markers", name=name,
        marker={"symbol": "square", "size": 13, "color": [cell[2] for cell in cells]},
        text=[cell[3] for cell in cells], hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def _describe(slot: Choices, row: int, bucket: int, left: bool) -> str:
    return f"{slot.name} = {slot.values[row]:g} in bucket {bucket + 1}: {'trained' if left else 'barred'}"
