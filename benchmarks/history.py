"""One page that draws what the reports say, over time: each figure, and the line of what was wanted of it.

    python benchmarks/history.py [--out runs/history.html] [FOLDER ...]

Read are the JSON files beside the reports. Those of scripts that compare two sides have `outcomes`; of older ones the
figures are picked out here. A theme that has been measured once is a point.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

__all__ = ["list_points", "read_outcomes", "write_page"]

REPORTS = Path(__file__).parent / "reports"
WIDTH, HEIGHT, LEFT, RIGHT, EDGE = 560, 150, 60, 90, 18  # of a chart, px
EARLIER = (".first", ".version1")  # words in names of reports that a later one of the same month has replaced
NAME = re.compile(r"(?P<theme>[\w-]+?)_(?P<hardware>[a-z]+\d+)_(?P<month>\d{4}-\d{2})(?P<rest>[.\w-]*)\.json")


@dataclass(frozen=True)
class Point:
    """One figure of one report; `wanted` is None where nothing was."""

    theme: str
    hardware: str
    date: str
    question: str
    value: float
    wanted: float | None


def _outcome(question: str, value: float, wanted: float | None = None, more: bool = False) -> dict[str, Any]:
    met = None if wanted is None else (value >= wanted if more else value <= wanted)
    return {"question": question, "value": value, "wanted": wanted, "more_is_better": more, "met": met}


def _read_exports(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for case in result["cases"]:
        name = f"{case['canvas_px']}x{case['canvas_px']}, {case['region_proposals']} proposals"
        yield _outcome(f"ours over torchvision's export, {name}", case["ours_over_torchvision"], case.get("target"))


def _read_tries(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    judged = [item for item in result["tries"] if "error" not in item]
    if judged:
        share = sum(bool(item["different"]) for item in judged) / len(judged)
        yield _outcome("share of tries in which equal models are called different", share, 0.05)


def _read_latency(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, found in result["ours_to"].items():
        yield _outcome(f"our median over that of {name}", found["ratio"], 1.03)


def _read_distillation(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield _outcome(
        "a distilled step over the plain one and the teacher's pass", result["distilled_over_plain_plus_teacher"]
    )


def _read_precisions(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, row in result["rows"].items():
        if name.endswith("int8"):
            yield _outcome(f"latency of {name} over its FP32", row["ratio"])


def _read_demo(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield _outcome("seconds of the demo", result["elapsed_s"], float(result["budget_s"]))


READERS: dict[str, Callable[[Mapping[str, Any]], Iterator[dict[str, Any]]]] = {
    "export-vs-torchvision": _read_exports,
    "aa-test": _read_tries,
    "latency-vs-others": _read_latency,
    "distillation-cost": _read_distillation,
    "precisions": _read_precisions,
    "demo": _read_demo,
}


def read_outcomes(path: Path) -> list[dict[str, Any]]:
    """The figures of one result, whichever script wrote it."""
    result = json.loads(path.read_text())
    if isinstance(result, dict) and "outcomes" in result:
        return list(result["outcomes"])
    theme = path.name.partition("_")[0].removesuffix(".json")
    return list(READERS[theme](result)) if theme in READERS and isinstance(result, dict) else []


def list_points(folders: Sequence[Path]) -> list[Point]:
    """The figures of every result in these folders, oldest first."""
    dated = []
    for path in (path for folder in folders for path in sorted(folder.glob("*.json"))):
        named = NAME.fullmatch(path.name)
        date = _read_date(json.loads(path.read_text())) or (named["month"] if named else "")
        theme, hardware = (named["theme"], named["hardware"]) if named else (path.stem, "this machine")
        for outcome in read_outcomes(path) if date else ():
            point = Point(theme, hardware, date, outcome["question"], outcome["value"], outcome["wanted"])
            dated.append((date, named is None or named["rest"] not in EARLIER, point))
    return [point for _, _, point in sorted(dated, key=lambda item: item[:2])]


def _read_date(result: Any) -> str:
    """The day that the result says it is of; empty where it says none."""
    said = [result[key] for key in ("date", "at", "made") if key in result] if isinstance(result, dict) else []
    return str(said[0])[:10] if said else ""


def draw(points: Sequence[Point]) -> str:
    """One question on one kind of hardware as an SVG image: a point per report, dashed what is wanted."""
    wanted = points[-1].wanted
    values = [point.value for point in points] + ([] if wanted is None else [wanted])
    low, high = min(0.0, *values), max(0.0, *values) * 1.1 or 1.0

    def down(value: float) -> float:
        return EDGE + (high - value) / (high - low) * (HEIGHT - 2 * EDGE)

    def across(index: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (index + 0.5) / len(points)

    parts = [f'<path d="M{LEFT},{EDGE}V{down(0):.1f}H{WIDTH - RIGHT}" class="axis"/>']
    if wanted is not None:
        parts.append(f'<path d="M{LEFT},{down(wanted):.1f}H{WIDTH - RIGHT}" class="wanted"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 6}" y="{down(wanted) + 4:.1f}">wanted {wanted:g}</text>')
    line = " ".join(f"{across(index):.1f},{down(point.value):.1f}" for index, point in enumerate(points))
    parts.append(f'<polyline points="{line}" class="line"/>')
    for index, point in enumerate(points):
        x, y = across(index), down(point.value)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"><title>{point.date}: {point.value:.4g}</title></circle>')
        parts.append(f'<text x="{x:.1f}" y="{y - 9:.1f}" text-anchor="middle">{point.value:.3g}</text>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 3}" text-anchor="middle">{point.date}</text>')
    label = escape(f"{points[0].question}, {len(points)} reports")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def make_body(points: Sequence[Point]) -> str:
    """Charts by theme, as part of a page."""
    groups: dict[tuple[str, str], dict[str, list[Point]]] = {}
    for point in points:
        groups.setdefault((point.theme, point.hardware), {}).setdefault(point.question, []).append(point)
    parts = []
    for (theme, hardware), questions in sorted(groups.items()):
        parts.append(f"<h2>{escape(theme)} on {escape(hardware)}</h2>")
        for question, found in questions.items():
            parts.append(f"<figure><figcaption>{escape(question)}</figcaption>{draw(found)}</figure>")
    return "\n".join(parts)


STYLE = """
:root { color-scheme: light dark; font: 15px system-ui, sans-serif; }
body { max-width: 40rem; margin: 2rem auto; padding: 0 1rem; }
.history svg, svg { max-width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: currentColor; }
figure { margin: 1rem 0; } figcaption { margin-bottom: 0.25rem; }
.axis { fill: none; stroke: currentColor; opacity: 0.4; }
.wanted { fill: none; stroke: #d4692a; stroke-dasharray: 5 4; }
.line { fill: none; stroke: #159a70; stroke-width: 2; } circle { fill: #159a70; }
"""


def write_page(path: Path, folders: Sequence[Path]) -> Path:
    """The page as one file that fetches nothing."""
    body = make_body(list_points(folders)) or "<p>no report yet</p>"
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    intro = "<h1>History of the benchmarks</h1><p>A point per report; the dashed line is what was wanted.</p>"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"{head}<title>History of the benchmarks</title><style>{STYLE}</style><body>{intro}{body}</body></html>\n"
    )
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", default=[REPORTS], metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=Path("runs/history.html"))
    arguments = parser.parse_args()
    print(write_page(arguments.out, arguments.folders))


if __name__ == "__main__":
    main()
