"""Whose front is better after equal time? Every row gets the same minutes, machine, seed, space, and trained base.

    python benchmarks/front_quality.py run --out runs/front-shapes --minutes 8 --seeds 0,1,2
    python benchmarks/front_quality.py run --out runs/front-bccd --data ../shared/data/bccd --size 256x192 --minutes 25
    python benchmarks/front_quality.py table --out runs/front-shapes --report benchmarks/reports/FILE.md

`run` trains the base of a seed once, whose time is charged to every row that starts from it, and then row after row;
the machine has to be idle. It may be killed and started again: a finished row is not run again. `table` measures all
that the rows of a seed found in one lease, beside the base, asks what the fronts are worth on images that no row has
seen (generated shapes of another seed, or the split "test"), and writes OUT/table.json, and a report with --report.

Rows: `pareto` and its ablations, `elastic` (`pareto` from a base whose children were trained with it), this project's
other methods, pruning alone, `widths` (uniform scaling of the base), `nsga2` (Optuna's, without inheritance), and
`further` (the base trained for all of the time in one cosine).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from front_options import add_row_options, do_command
from front_rows import RATIOS, Nsga2, UniformWidths

from deploy import MeasurementFailure, get_target
from deploy.data import Dataset, read_dataset
from deploy.evaluate import evaluate_artefact
from optimizer.config import UNLIMITED, RunConfig, VariantsConfig
from optimizer.cost.base import Candidate
from optimizer.cost.latency import LatencyCost
from optimizer.data.shapes import write_shapes
from optimizer.data.splits import count_kept
from optimizer.handover.front import Export, find_front
from optimizer.quantities import parse_size
from optimizer.recipes import quick, scaled_sizes
from optimizer.run.run import resume_run, start_run
from optimizer.search import STRATEGIES
from optimizer.search.base import DoneTrial, ScreenedTrial, list_done, list_screened
from optimizer.search.pareto import hypervolume
from optimizer.store.run_store import DATABASE, RunStore
from optimizer.trials.exporter import Exporter
from optimizer.trials.judge import MEASURING_IMAGES

PRUNING = ("prune_channels", "prune_layer", "prune_fpn", "prune_rpn", "prune_box_head")
CLIMB: dict[str, object] = {  # what `joint` was when this project measured it last
    "search.method": "joint", "search.max_actions": 2, "search.teacher": "none", "search.finetuned": 1,
}  # fmt: skip
ROWS: dict[str, dict[str, object]] = {
    "pareto": {},
    "elastic": {},
    "joint": CLIMB,
    "random": {**CLIMB, "search.method": "random"},
    "pruning": {**CLIMB, "search.space.actions": PRUNING},
    "widths": {**CLIMB, "search.method": "widths", "search.trials": len(RATIOS), "search.finetuned": 0},
    "nsga2": {**CLIMB, "search.method": "nsga2", "search.inherit": False, "search.finetuned": 0},
    "further": {**CLIMB, "base_epochs": "fixed"},  # on all training images
    "no-screening": {"search.screened": 0},
    "no-taylor": {"search.importance": "bn_scale"},
    "no-continuity": {"search.continuity": False},
    "no-inheritance": {"search.inherit": False},
    "no-last-training": {"search.finetuned": 0},
    "untaught": {"search.teacher": "none"},
    "taught-by-base": {"search.teacher": "base"},
}
STARTS: dict[str, dict[str, object]] = {"start": {}, "start-elastic": {"search.elastic": 0.5}}
START_OF = {"elastic": "start-elastic"}  # of all other rows: "start"
HANDOVER_S = 40.0  # of the rows that end with bundles of three students
WIDTHS_EPOCH = 0.6  # of a uniformly scaled student, in epochs of the base, on all images
SPEED = (0.8, 0.6, 0.4)  # shares of the base's latency at which the best AP is told
TEST_IMAGES, TEST_SEED = 200, 1_000_003
LEVEL = "screen"  # at which the table measures


@dataclass(frozen=True)
class Point:
    """A model of a front.

    Attributes:
        latency: as a share of the base's, in one lease with all that was found. searched: as the row measured it.
        test_ap: on images that no row has seen.
    """

    name: str
    ap: float
    latency: float
    searched: float
    test_ap: float | None = None


def make_config(arguments: argparse.Namespace, row: str, seed: int) -> RunConfig:
    """The recipe of a row; of `STARTS`, the base that others start from."""
    data = arguments.data.resolve() if arguments.data is not None else None
    config = quick(data)
    changes: dict[str, object] = {
        "base": arguments.base, "seed": seed, "variants": VariantsConfig(), "final_protocol": "screen",
        "search.trials": UNLIMITED, "weights": None,
    }  # fmt: skip
    if arguments.size:
        size = parse_size(arguments.size)
        changes |= {"input_size": size, "search.space.sizes": scaled_sizes(size)}
    if arguments.base_epochs:
        changes["base_train.epochs"] = arguments.base_epochs
    start = row if row in STARTS else find_start(row)
    return config.changed(changes).changed(STARTS[start]).changed(ROWS.get(row, {}))


def run_row(arguments: argparse.Namespace, row: str, seed: int) -> None:
    """One row in this process; goes on where it was killed."""
    folder, start = name_folder(arguments, row, seed), name_folder(arguments, find_start(row), seed)
    STRATEGIES["widths"] = lambda of: UniformWidths(of.space)
    STRATEGIES["nsga2"] = lambda of: Nsga2(of.space, folder.parent / f"{folder.name}.study")
    if (folder / DATABASE).exists():
        resume_run(folder)
        return
    config, budget_s = make_config(arguments, row, seed), 60 * arguments.minutes
    if row in STARTS:
        config = config.changed({"search.trials": 0})
    elif row == "further":
        epochs = count_epochs(start, budget_s / find_growth(config, start))
        config = config.changed({"search.trials": 0, "base_train.epochs": epochs})
    elif row == "widths":  # each a third of the time, in one cosine
        each_s = (budget_s - find_base_s(start) - HANDOVER_S) / len(RATIOS)
        epochs = count_epochs(start, each_s / WIDTHS_EPOCH)
        config = config.changed({"base_run": start.resolve(), "trial_train.epochs": epochs})
    else:
        config = config.changed({"base_run": start.resolve(), "budget_s": budget_s - find_base_s(start)})
    start_run(config, folder)


def count_epochs(start: Path, seconds: float) -> int:
    """How many epochs of the base there are in so many seconds, of which some go to export and measuring."""
    with RunStore.open(start, writable=False) as store:
        work = list_done(store.history())[0].work
    train_s = work.seconds_by_part["train"]
    return max(int((seconds - (work.seconds - train_s)) / (train_s / work.epochs_total)), 1)


def find_growth(config: RunConfig, start: Path) -> float:
    """How much longer an epoch on all training images takes than the start's, which kept some out."""
    count = len(read_dataset(config.data or start / "data", "train").records)
    return count / (count - count_kept(count))


def find_start(row: str) -> str:
    """Whose base a row starts from."""
    return START_OF.get(row, "start")


def list_starts(rows: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(find_start(row) for row in rows))


def find_base_s(folder: Path) -> float:
    """What the base of a seed cost, which is charged to every row."""
    with RunStore.open(folder, writable=False) as store:
        return list_done(store.history())[0].work.seconds


def name_folder(arguments: argparse.Namespace, row: str, seed: int) -> Path:
    folder: Path = arguments.out / f"{row}-{seed}"
    return folder


def is_finished(folder: Path) -> bool:
    if not (folder / DATABASE).exists():
        return False
    with RunStore.open(folder, writable=False) as store:
        return store.status == "finished"


def do_run(arguments: argparse.Namespace) -> None:
    """All rows of all seeds, one after the other, each in a process of its own."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for row in [*list_starts(arguments.rows), *arguments.rows]:
            if is_finished(name_folder(arguments, row, seed)):
                continue
            print(f"{datetime.now():%H:%M:%S} {row}, seed {seed}", flush=True)
            process = multiprocessing.get_context("spawn").Process(target=run_row, args=(arguments, row, seed))
            process.start()
            process.join()
            if process.exitcode:
                print(f"{row}, seed {seed}: ended with exit code {process.exitcode}", flush=True)


def do_table(arguments: argparse.Namespace) -> None:
    """What every finished row found, and the report."""
    found: dict[str, Any] = {"rows": {}, "minutes": arguments.minutes, "base": arguments.base}
    test = read_test(arguments)
    for seed in arguments.seeds:
        folders = {row: name_folder(arguments, row, seed) for row in [*list_starts(arguments.rows), *arguments.rows]}
        folders = {row: folder for row, folder in folders.items() if is_finished(folder)}
        val = read_dataset(arguments.data or name_folder(arguments, "start", seed) / "data", "val")
        shares = measure_fronts(folders, [record.path for record in val.records[:MEASURING_IMAGES]])
        for row, folder in folders.items():
            start = name_folder(arguments, row if row in STARTS else find_start(row), seed)
            found["rows"][f"{row}-{seed}"] = describe_row(folder, test, find_base_s(start), shares[row])
    (arguments.out / "table.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = write_table(found, arguments.rows, arguments.seeds)
    print(text)
    if arguments.report is not None:
        arguments.report.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        arguments.report.write_text(text + "\n", encoding="utf-8")


def measure_fronts(folders: Mapping[str, Path], images: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Latency of every model of these fronts as a share of the first row's base, all in one lease; by row and name."""
    candidates: dict[int, Candidate] = {}
    places: dict[tuple[str, str], int] = {}
    for row, folder in folders.items():
        with RunStore.open(folder, writable=False) as store:
            exporter, front = make_exporter(store, folder), find_front(store)
            if not candidates and front.base is not None:
                candidates[0] = exporter.find(front.base.trial)
            for export in front.best:
                number = 0 if export.of_base and row == next(iter(folders)) else len(candidates)
                candidates[number] = exporter.find(export.trial)
                places[row, export.name] = number
    found = LatencyCost(get_target("cpu"), tuple(images), LEVEL, print).measure_all(candidates)
    shares: dict[str, dict[str, float]] = {row: {} for row in folders}
    for (row, name), number in places.items():
        cost = found[number]
        if isinstance(cost, MeasurementFailure):
            raise SystemExit(f"{row}, {name}: no latency: {cost.reason}")
        shares[row][name] = 1 / cost.ratio
    return shares


def make_exporter(store: RunStore, folder: Path) -> Exporter:
    return Exporter(store.artefacts, folder, get_target("cpu").spec, store.data.class_names if store.data else ())


def read_test(arguments: argparse.Namespace) -> Dataset | None:
    """Images that no row has seen: of generated shapes another draw; of a folder its split "test", where it has one."""
    if arguments.data is None:
        shapes = quick(None).shapes
        folder = arguments.out / "test-images"
        write_shapes(folder, train=1, val=TEST_IMAGES, size=shapes.size, seed=TEST_SEED)
        return read_dataset(folder, "val")
    try:
        return read_dataset(arguments.data, "test")
    except Exception:
        return None


def describe_row(folder: Path, test: Dataset | None, base_s: float, shares: Mapping[str, float]) -> dict[str, Any]:
    """The front of a finished run, how it grew by its own figures, and where the time went."""
    with RunStore.open(folder, writable=False) as store:
        front, done = find_front(store), list_done(store.history())
        exporter = make_exporter(store, folder)
        points = [
            Point(export.name, export.ap, shares[export.name], 1 / export.ratio, find_test_ap(exporter, export, test))
            for export in front.best
        ]
        spent, grown, seen = base_s, [], []
        screened = list_screened(store.history())
        trials: list[DoneTrial | ScreenedTrial] = [*done[1:], *screened]
        for trial in sorted(trials, key=lambda trial: trial.number):
            if isinstance(trial, ScreenedTrial):
                spent += trial.seconds
                continue
            spent += trial.work.seconds
            seen.append((trial.ap, 1 / trial.cost_ratio))
            grown.append((round(spent, 1), hypervolume(seen)))
        parts = {"screen": sum(trial.seconds for trial in screened)}
        for trial in done[1:]:
            for name, seconds in trial.work.seconds_by_part.items():
                parts[name] = parts.get(name, 0.0) + seconds
        base = front.base
        return {
            "front": [asdict(point) for point in points],
            "base_ap": base.ap if base else None,
            "hypervolume": hypervolume([(point.ap, point.latency) for point in points]),
            "hypervolume_on_test": None if test is None else hypervolume(
                [(point.test_ap or 0.0, point.latency) for point in points]
            ),
            "best_ap_at": {str(share): find_best(points, share) for share in SPEED},
            "best_test_ap_at": {str(share): find_best(points, share, test=True) for share in SPEED},
            "students": len(done) - 1, "screened": len(screened),
            "hypervolume_over_time": grown, "seconds_by_part": parts,
            "elapsed_s": store.elapsed_seconds, "base_s": base_s,
        }  # fmt: skip


def find_test_ap(exporter: Exporter, export: Export, test: Dataset | None) -> float | None:
    if test is None or not export.is_plain:
        return None
    candidate = exporter.find(export.trial)
    return evaluate_artefact(candidate.source, test.class_names, test, get_target("cpu"))[0].ap


def find_best(points: Sequence[Point], share: float, test: bool = False) -> float:
    """The best AP at no more than this share of the base's latency; 0 where nothing is as fast."""
    fast = [point for point in points if point.latency <= share]
    return max(((point.test_ap or 0.0) if test else point.ap for point in fast), default=0.0)


def write_table(found: Mapping[str, Any], rows: Sequence[str], seeds: Sequence[int]) -> str:
    """A Markdown table, one line a row and seed."""
    lines = [
        f"# Fronts after equal time ({datetime.now(timezone.utc):%Y-%m-%d})", "",
        f"{found['minutes']:g} minutes a row, base {found['base']}; the base's time is charged to every row.", "",
        "| row | seed | hypervolume | on unseen images | AP at 0.8 | at 0.6 | at 0.4 | students | screened "
        "| training and screening, share of the time |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in [*list_starts(rows), *rows]:
        for seed in seeds:
            entry = found["rows"].get(f"{row}-{seed}")
            if entry is None:
                continue
            best = " | ".join(f"{entry['best_ap_at'][str(share)]:.3f}" for share in SPEED)
            test = entry["hypervolume_on_test"]
            total = sum(entry["seconds_by_part"].values())
            trained = (
                sum(entry["seconds_by_part"].get(part, 0.0) for part in ("train", "screen")) / total if total else 0
            )
            lines.append(
                f"| {row} | {seed} | {entry['hypervolume']:.4f} | {'-' if test is None else f'{test:.4f}'} | {best} | "
                f"{entry['students']} | {entry['screened']} | {trained:.2f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = ("pareto", "joint", "random", "pruning", "widths", "further")
    add_row_options(parser, ROWS, usual, minutes=8.0, of="a row, its base included")
    parser.add_argument("--base", default="r18")
    parser.add_argument("--base-epochs", type=int, help="of the base; the recipe's without")
    do_command(parser, {"run": do_run, "table": do_table})


if __name__ == "__main__":
    main()
