"""What the rows of `joint_detnas` found: the best of each measured in one lease, what teachers gave, and the tables."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from joint_detnas_rows import ALONE, ROWS, WORDS

from deploy import MeasurementFailure
from deploy.data import read_dataset
from optimizer.config import RunConfig, parse_config
from optimizer.cost.base import Candidate, RelativeCost
from optimizer.search.base import DoneTrial, FailedTrial, Trial, list_done
from optimizer.search.objective import OBJECTIVES
from optimizer.store.run_store import DATABASE, RunStore
from optimizer.supernet.pool import evaluate_teacher, find_pool, open_pool
from optimizer.trials.jobs import choose_device
from optimizer.trials.judge import build_meter


def do_teachers(arguments: argparse.Namespace) -> None:
    """Ask every teacher that was used so far for its AP, which is kept for the table; needs no quiet."""
    starts, runs = read_rows(arguments.out)
    list_pairs(arguments.out, next(iter(starts.values())), {key: trials for key, (_, trials) in runs.items()})


def do_table(arguments: argparse.Namespace) -> None:
    """Measure the best of every row together, and write the tables."""
    settings = json.loads((arguments.out / "settings.json").read_text())
    starts, runs = read_rows(arguments.out)
    first = next(iter(starts.values()))
    best = {key: pick_best(key[0], trials) for key, (_, trials) in runs.items()}
    ratios, records = measure_together(first, {key: (runs[key][0], trial) for key, trial in best.items()})
    lines = []
    for (row, seed), trial in best.items():
        base = best["base", seed]
        ratio = ratios[row, seed] / ratios["base", seed]  # how many times as fast as the base
        trials = runs[row, seed][1]
        lines.append(
            {
                "row": row, "seed": seed, "ap": trial.ap, "ap50": trial.ap50, "macs": trial.counts.macs,
                "latency_over_base": 1 / ratio, "score": OBJECTIVES["harmonic"](trial.ap / base.ap, ratio, 0.4, 0.8),
                "minutes": sum(t.work.seconds for t in list_done(trials)) / 60,
                "epochs_of_student": trial.work.epochs_total,
                "trial": trial.number, "teacher": str(trial.proposal.teacher or ""),
                "arch": trial.arch.to_json(), "failed": sum(isinstance(t, FailedTrial) for t in trials),
            }
        )  # fmt: skip
    pairs = list_pairs(arguments.out, first, {key: trials for key, (_, trials) in runs.items()})
    shares = {f"{row}-{seed}": share_outside(folder) for (row, seed), (folder, _) in runs.items()}
    result = {
        "settings": settings, "rows": lines, "observations": observe(pairs, lines), "pairs": pairs,
        "share_outside": shares, "latency": records,
    }  # fmt: skip
    (arguments.out / "table.json").write_text(json.dumps(result, indent=1) + "\n")
    text = describe(lines) + "\n" + json.dumps(result["observations"], indent=1) + "\n"
    (arguments.out / "table.md").write_text(text)
    print(text)


def read_rows(out: Path) -> tuple[dict[int, RunConfig], dict[tuple[str, int], tuple[Path, list[Trial]]]]:
    """Configuration of each seed's first base; folder and trials of each complete row, by its name and seed."""
    seeds = [int(seed) for seed in json.loads((out / "settings.json").read_text())["seeds"].split(",")]
    starts, runs = {}, {}
    for seed in seeds:
        for row in ("start", *ALONE, *ROWS):
            folder = out / f"{row}-{seed}"
            if (folder / DATABASE).exists():
                with RunStore.open(folder, writable=False) as store:
                    if row == "start":
                        starts[seed] = parse_config(store.config)
                    elif is_complete(row, store.history()):
                        runs[row, seed] = (folder, store.history())
    return starts, runs


def is_complete(row: str, trials: list[Trial]) -> bool:
    """Whether a row has all its trials; the table needs none of what a run does after them."""
    wanted = trials[0] if row in ALONE else next((trial for trial in trials if trial.proposal.finetune), None)
    return isinstance(wanted, DoneTrial)


def pick_best(row: str, trials: list[Trial]) -> DoneTrial:
    """The student a row found: that of the best score; of the base's own rows the base."""
    done = [trial for trial in list_done(trials) if trial.number > 0 or row in ALONE]
    return max(done, key=lambda trial: trial.score)


def measure_together(
    config: RunConfig, students: Mapping[tuple[str, int], tuple[Path, DoneTrial]]
) -> tuple[dict[tuple[str, int], float], dict[str, Any]]:
    """Speed of every student by that of the first base, all in one lease, with the records."""
    from deploy import ModelSource, Preprocess, get_target
    from optimizer.arch.macs import count

    keys = sorted(students, key=lambda key: (key[0] != "base", key))
    candidates = {}
    for number, key in enumerate(keys):
        folder, trial = students[key]
        model = folder / "artefacts" / trial.files.model
        source = ModelSource(model, Preprocess.imagenet(*trial.arch.input_size))
        candidates[number] = Candidate(source, count(trial.arch, 3))
    assert config.data is not None
    meter = build_meter(config, [get_target(config.target)], read_dataset(config.data, "val"), "screen", print)
    measured: dict[tuple[str, int], RelativeCost] = {}
    for number, found in meter.measure_all(candidates).items():
        if isinstance(found, MeasurementFailure):
            raise SystemExit(f"no latency for {keys[number]}: {found.reason}")
        measured[keys[number]] = found
    return (
        {key: found.ratio for key, found in measured.items()},
        {f"{row}-{seed}": found.latency for (row, seed), found in measured.items()},
    )


class TeacherScores:
    """AP and number of parameters of teachers, kept in a file as they are found: each takes a while."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.scores: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}

    def add(self, teacher: str, score: dict[str, Any]) -> None:
        self.scores[teacher] = score
        aside = self.path.with_suffix(".new")
        aside.write_text(json.dumps(self.scores, indent=1) + "\n")
        aside.replace(self.path)


def list_pairs(out: Path, config: RunConfig, runs: Mapping[tuple[str, int], list[Trial]]) -> list[dict[str, Any]]:
    """Every taught student with its teacher's own AP and size, and how much AP it gained on its parent."""
    assert config.data is not None and config.teacher_pool is not None
    train_data, val_data = read_dataset(config.data, "train"), read_dataset(config.data, "val")
    pool = open_pool(find_pool(config.teacher_pool, config.pool_config(), train_data)[0], train_data)
    known = TeacherScores(out / "teachers.json")
    pairs = []
    for (row, seed), trials in runs.items():
        done = list_done(trials)
        by_number = {trial.number: trial for trial in done}
        for trial in done:
            teacher, parent = trial.proposal.teacher, trial.proposal.parent
            if teacher is None or parent is None:
                continue
            if str(teacher) not in known.scores:
                detector = pool.extract(teacher, choose_device())
                params = sum(parameter.numel() for parameter in detector.parameters())
                known.add(str(teacher), {"ap": evaluate_teacher(detector, val_data, choose_device()), "params": params})
            score = known.scores[str(teacher)]
            pairs.append(
                {
                    "row": row, "seed": seed, "trial": trial.number, "teacher": str(teacher),
                    "teacher_ap": score["ap"], "teacher_params": score["params"],
                    "student_ap": trial.ap, "student_params": trial.counts.params, "score": trial.score,
                    "actions": [action.kind for action in trial.proposal.actions],
                    "ap_gain_on_parent": trial.ap - by_number[parent].ap,
                }
            )  # fmt: skip
    return pairs


def observe(pairs: list[dict[str, Any]], lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The paper's two observations: does the strongest teacher teach best, do the capacities of a pair go together?"""
    same = [pair for pair in pairs if not pair["actions"]]  # the student is its parent, so the gain is the teacher's
    best = [
        pair for line in lines for pair in pairs
        if (pair["row"], pair["seed"], pair["trial"]) == (line["row"], line["seed"], line["trial"])
    ]  # fmt: skip
    return {
        "taught_students": len(pairs),
        "teacher_ap_range": [min(p["teacher_ap"] for p in pairs), max(p["teacher_ap"] for p in pairs)],
        "rank_correlation_of_teacher_ap_and_gain": correlate(pairs, "teacher_ap", "ap_gain_on_parent"),
        "the_same_where_the_architecture_stays": correlate(same, "teacher_ap", "ap_gain_on_parent"),
        "pairs_where_the_architecture_stays": len(same),
        "rank_correlation_of_teacher_size_and_gain": correlate(pairs, "teacher_params", "ap_gain_on_parent"),
        "best_pairs": [[p["row"], p["seed"], p["student_params"], p["teacher_params"], p["teacher_ap"]] for p in best],
        "rank_correlation_of_sizes_in_best_pairs": correlate(best, "student_params", "teacher_params"),
    }


def correlate(pairs: list[dict[str, Any]], one: str, other: str) -> float | None:
    """Spearman's rank correlation; None where it is not defined."""
    if len({pair[one] for pair in pairs}) < 2 or len({pair[other] for pair in pairs}) < 2:
        return None
    ranks = [rank([pair[name] for pair in pairs]) for name in (one, other)]
    return float(np.corrcoef(ranks)[0, 1])


def rank(values: list[float]) -> list[float]:
    """Rank of each value; equal values share the mean of theirs."""
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]


def share_outside(folder: Path) -> float:
    """Share of a search's time that is not training, export, evaluation or measuring; NaN if it was interrupted."""
    with RunStore.open(folder, writable=False) as store:
        trials = [t for t in list_done(store.history()) if t.number > 0 and not t.proposal.finetune]
    text = (folder / "log.txt").read_text()
    times = [
        datetime.strptime(line.split(",")[0], "%Y-%m-%d %H:%M:%S")
        for line in text.splitlines()
        if "trial 1: train (" in line or "search ended" in line
    ]
    if len(times) != 2 or not all(trial.work.seconds_by_part for trial in trials):
        return float("nan")
    parts = ("train", "export", "evaluate", "measure")
    inside = sum(trial.work.seconds_by_part[name] for trial in trials for name in parts)
    return 1 - inside / (times[1] - times[0]).total_seconds()


def describe(lines: list[dict[str, Any]]) -> str:
    """The table as markdown: means over seeds, each seed's value in brackets."""
    out = ["| row | AP | AP50 | GMAC | latency / base | score | epochs of the student | minutes |", "|---" * 8 + "|"]
    for row in WORDS:
        mine = [line for line in lines if line["row"] == row]
        if not mine:
            continue
        cells = [WORDS[row]]
        columns: tuple[tuple[str, Callable[[float], str]], ...] = (
            ("ap", "{:.3f}".format), ("ap50", "{:.3f}".format), ("macs", lambda value: f"{value / 1e9:.2f}"),
            ("latency_over_base", "{:.2f}".format), ("score", "{:.3f}".format), ("epochs_of_student", "{:g}".format),
            ("minutes", "{:.1f}".format),
        )  # fmt: skip
        for name, show in columns:
            values = [line[name] for line in mine]
            cells.append(f"{show(fmean(values))} ({', '.join(show(value) for value in values)})")
        out.append(f"| {' | '.join(cells)} |")
    return "\n".join(out) + "\n"
