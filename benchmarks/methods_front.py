"""Which method's front is best after equal time and on equal images? Rows are command lines of `optimize`.

    python benchmarks/methods_front.py run --out runs/methods --minutes 10 --seeds 0 [--data FOLDER --size 256x192]
    python benchmarks/methods_front.py table --out runs/methods --seeds 0 --report benchmarks/reports/FILE.md

Every run begins with random weights, and its minutes hold all that it needs: base, super-network, pre-training, search,
last trainings. `run` does one after the other on an otherwise idle machine, and goes on where it was stopped. `table`
measures what all rows of a seed found in one lease, and writes the report, all figures and a chart beside it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from front_options import add_row_options, do_command
from front_quality import SPEED, describe_row, find_base_s, is_finished, measure_fronts, read_test

from deploy.data import read_dataset
from optimizer.store.run_store import DATABASE
from optimizer.trials.judge import MEASURING_IMAGES

LIMITS = "0.8,0.6,0.4"
ROWS: Mapping[str, Sequence[str]] = {
    "pareto": ("--base", "r18", "--method", "pareto"),
    "joint": ("--base", "r18", "--method", "joint"),
    "pareto from ShuffleNetV2": ("--base", "shufflenetv2_20", "--method", "pareto"),
    "detnas": ("--base", "shufflenetv2_20", "--method", "detnas", "--limit", LIMITS),
    "detofa": ("--base", "ofa_resnet50", "--method", "detofa", "--limit", LIMITS),
}  # fmt: skip


def run_row(arguments: argparse.Namespace, row: str, seed: int) -> None:
    folder = name_folder(arguments, row, seed)
    asked = [*ROWS[row], "--budget", f"{arguments.minutes:g}m", "--seed", str(seed), "--weights", "none"]
    if arguments.data is not None:
        asked += ["--data", str(arguments.data)]
    if arguments.size:
        asked += ["--size", arguments.size]
    is_begun = (folder / DATABASE).exists()
    command = ["resume", str(folder)] if is_begun else [*asked, "--target", "cpu", "--out", str(folder)]
    code = subprocess.run([sys.executable, "-m", "optimizer", *command], check=False).returncode
    if code:
        print(f"{row}, seed {seed}: ended with exit code {code}", flush=True)


def name_folder(arguments: argparse.Namespace, row: str, seed: int) -> Path:
    """Each run has a folder around it, where its super-networks lie, so that no other run finds them."""
    folder: Path = arguments.out / f"{row.replace(' ', '-')}-{seed}" / "run"
    return folder


def do_run(arguments: argparse.Namespace) -> None:
    for seed in arguments.seeds:
        for row in arguments.rows:
            if not is_finished(name_folder(arguments, row, seed)):
                print(f"{datetime.now():%H:%M:%S} {row}, seed {seed}", flush=True)
                run_row(arguments, row, seed)


def do_table(arguments: argparse.Namespace) -> None:
    found: dict[str, Any] = {"minutes": arguments.minutes, "commands": dict(ROWS), "rows": {}}
    test = read_test(arguments)
    for seed in arguments.seeds:
        folders = {row: name_folder(arguments, row, seed) for row in arguments.rows}
        folders = {row: folder for row, folder in folders.items() if is_finished(folder)}
        val = read_dataset(arguments.data or next(iter(folders.values())) / "data", "val")
        shares = measure_fronts(folders, [record.path for record in val.records[:MEASURING_IMAGES]])
        for row, folder in folders.items():
            found["rows"][f"{row}, seed {seed}"] = describe_row(folder, test, find_base_s(folder), shares[row])
    text = write_table(found)
    print(text)
    if arguments.report is not None:
        arguments.report.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        arguments.report.write_text(text + "\n", encoding="utf-8")
        draw_fronts(found).write_html(arguments.report.with_suffix(".html"), include_plotlyjs=True)


def write_table(found: Mapping[str, Any]) -> str:
    """A Markdown table, one line a run; latencies are shares of the first row's base's."""
    lines = [
        f"# Fronts of the methods after equal time ({datetime.now(timezone.utc):%Y-%m-%d})", "",
        f"{found['minutes']:g} minutes a run, all of its work included; latencies are shares of the first base's.",
        "", "| row | hypervolume | on unseen images | AP at 0.8 | at 0.6 | at 0.4 | front: AP at share |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, entry in found["rows"].items():
        best = " | ".join(f"{entry['best_ap_at'][str(share)]:.3f}" for share in SPEED)
        test = entry["hypervolume_on_test"]
        points = ", ".join(f"{point['ap']:.3f} at {point['latency']:.2f}" for point in entry["front"])
        unseen = "-" if test is None else f"{test:.3f}"
        lines.append(f"| {name} | {entry['hypervolume']:.3f} | {unseen} | {best} | {points} |")
    return "\n".join(lines)


def draw_fronts(found: Mapping[str, Any]) -> go.Figure:
    figure = go.Figure()
    for name, entry in found["rows"].items():
        points = sorted(entry["front"], key=lambda point: point["latency"])
        figure.add_scatter(
            x=[point["latency"] for point in points], y=[point["ap"] for point in points], name=name,
            mode="lines+markers", line={"shape": "hv"}, marker={"size": 9},
        )  # fmt: skip
    figure.update_layout(
        template="plotly_white", width=900, height=480, legend={"orientation": "h", "y": 1.12},
        xaxis={"title": "latency, as a share of R18's base", "rangemode": "tozero"},
        yaxis={"title": "AP on validation images"}, margin={"t": 60, "r": 20},
    )  # fmt: skip
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_row_options(parser, ROWS, usual=list(ROWS), minutes=10.0, of="a run")
    do_command(parser, {"run": do_run, "table": do_table})


if __name__ == "__main__":
    main()
