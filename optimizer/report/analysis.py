"""What `optimize analyse` left beside a run, as sections of its page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from deploy.errors import InputError
from deploy.reading import read_json_object, read_plain
from optimizer.report.charts import ACCENT, BASE, MUTED, render
from optimizer.store.values import DAMAGE, read_list, read_mapping, read_number, read_text, read_whole

__all__ = ["ANALYSIS", "FOLDER", "Analysed", "draw_distances", "draw_losses", "has_distances", "read_analysis"]

FOLDER, ANALYSIS = "analysis", "analysis.json"
LIMIT = 64 << 20  # bytes of a file that is read
NAME = re.compile(r"[A-Za-z0-9_.-]+")  # of a model, and so of its page
COLOURS = {"Loc": "#4f81bd", "Sim": "#bf4d4d", "Oth": "#5ca661", "BG": "#8064a2", "FN": "#ff9a00"}
LINES = (ACCENT, BASE, MUTED, *COLOURS.values(), "#00a3a3", "#b8860b", "#e377c2")  # more students than these share
WORDS = {
    "Loc": "badly placed", "Sim": "a similar class", "Oth": "another class", "BG": "background", "FN": "missed",
}  # fmt: skip


@dataclass(frozen=True)
class Analysed:
    """An analysis as it was written.

    Attributes:
        images: on which distances were measured. teacher: in words; None where students had none of their own.
        models: by name, what was found of each.
        folder: where its pictures and pages are.
    """

    images: int
    teacher: str | None
    models: dict[str, dict[str, Any]]
    folder: Path

    @property
    def pictures(self) -> list[tuple[str, bytes]]:
        """Captions and PNGs of where distillation pulls."""
        found = []
        for name, model in self.models.items():
            for item in model.get("gradients", []):
                try:
                    content = read_plain(self.folder / Path(item["file"]).name, LIMIT, follow_link=False)
                except InputError:
                    continue
                ratio = item["objects_over_background"]
                said = f", {ratio:.1f} times as strong in objects" if ratio is not None else ""
                found.append((f"{name}: {item['image']}{said}", content))
        return found


def read_analysis(run: Path) -> Analysed | None:
    """The analysis beside a run; None where there is none, or none that can be read."""
    folder = run / FOLDER
    try:
        content = read_json_object(folder / ANALYSIS, LIMIT, follow_link=False)
        teacher, models = content["teacher"], read_mapping(content["models"])
        for name, model in models.items():
            _check_model(name, read_mapping(model))
        return Analysed(read_whole(content["images"]), None if teacher is None else read_text(teacher), models, folder)
    except (InputError, *DAMAGE):
        return None


def _check_model(name: str, model: dict[str, Any]) -> None:
    """An error where a model's part is not one of ours: others may have written it."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r:.80} is not a name of a model")
    for loss in read_mapping(_find_losses(model)).values():
        read_number(loss)
    distances = model.get("distances")
    for where in ("objects", "background") if distances else ():
        if not [read_number(value) for value in read_list(read_mapping(distances)[where])]:
            raise ValueError(f"no distances in {where}")
    for item in read_list(model.get("gradients", [])):
        read_text(item["image"]), read_text(item["file"])
        if item["objects_over_background"] is not None:
            read_number(item["objects_over_background"])


def draw_losses(analysed: Analysed) -> str:
    """What each kind of mistake costs each model, of precision at an IoU of 0.5; with AP50 they add up to 1."""
    figure = go.Figure()
    names = list(analysed.models)
    for kind, colour in COLOURS.items():
        figure.add_bar(
            y=names,
            x=[_find_losses(analysed.models[name]).get(kind, 0.0) for name in names],
            orientation="h",
            name=WORDS[kind],
            marker={"color": colour},
            hovertemplate="%{y}: " + WORDS[kind] + " costs %{x:.3f}<extra></extra>",
        )
    figure.update_layout(barmode="stack", legend={"traceorder": "normal", "yanchor": "bottom", "y": 1.02})
    figure.update_xaxes(title="precision lost at an IoU of 0.5", rangemode="tozero")
    return render(figure, "losses", 150 + 40 * len(names))


def draw_distances(analysed: Analysed) -> str:
    """The distance of each channel, the largest first; one line a student for objects, one for the background."""
    figure = go.Figure()
    for index, (name, model) in enumerate(analysed.models.items()):
        distances = model.get("distances")
        if not distances:
            continue
        colour = LINES[index % len(LINES)]
        for where, dash in (("objects", "solid"), ("background", "dot")):
            values = sorted(distances[where], reverse=True)
            figure.add_scatter(
                x=list(range(1, len(values) + 1)), y=values, mode="lines", line={"color": colour, "dash": dash},
                name=f"{name}, {where} (mean {sum(values) / len(values):.3f})",
            )  # fmt: skip
    figure.update_xaxes(title="channel of the finest map, by distance")
    figure.update_yaxes(title="mean |teacher - student|", rangemode="tozero")
    figure.update_layout(legend={"yanchor": "bottom"})
    return render(figure, "distances", 320 + 20 * len(analysed.models))


def has_distances(analysed: Analysed) -> bool:
    return any(model.get("distances") for model in analysed.models.values())


def _find_losses(model: dict[str, Any]) -> dict[str, float]:
    overall = model["errors"]["overall"]["areas"]["all"]
    losses: dict[str, float] = overall["losses"] if overall else {}
    return losses
