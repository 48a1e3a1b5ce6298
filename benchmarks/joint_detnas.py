"""Joint-DetNAS against its parts: one row a way of searching, at equal total epochs.

    python benchmarks/joint_detnas.py run --data DATA --out OUT [--seeds 1,2] [--jobs 2]
    python benchmarks/joint_detnas.py teachers --out OUT
    python benchmarks/joint_detnas.py table --out OUT

`run` trains a teacher pool once, the base once for each seed, then every row from that base (trials of one epoch each,
the best of them fine-tuned), and the base alone for as many epochs. It may be killed and started again. With several
jobs, each trains on its share of the cores, and one that measures latency stops the others meanwhile. `table` measures
the best student of every row and seed beside the base in one lease, asks every teacher that was used for its own AP
(`teachers` does so ahead), and writes OUT/table.json and OUT/table.md.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from deploy import MeasurementFailure
from deploy.data import read_dataset
from optimizer.config import RunConfig, VariantsConfig, parse_config
from optimizer.cost.base import Candidate, CostMeter, RelativeCost
from optimizer.quantities import parse_size
from optimizer.recipes import PAPER_ACTIONS, quick, scaled_sizes
from optimizer.run import run as run_module
from optimizer.search.base import DoneTrial, FailedTrial, Trial, list_done
from optimizer.search.objective import OBJECTIVES
from optimizer.store.run_store import DATABASE, RunStore
from optimizer.supernet.pool import evaluate_teacher, find_pool, open_pool
from optimizer.trials.jobs import choose_device
from optimizer.trials.judge import build_meter

PRUNING = ("prune_channels", "prune_layer", "prune_fpn", "prune_rpn", "prune_box_head")
ROWS: dict[str, dict[str, object]] = {
    "joint": {},
    "pruning": {"search.space.actions": PRUNING, "search.teacher": "none"},
    "distillation": {"search.space.actions": ()},
    "pipeline": {"search.method": "pipeline"},
    "backbone": {"search.space.actions": PAPER_ACTIONS},
    "random": {"search.method": "random"},
    "no-inheritance": {"search.inherit": False},
}
ALONE = ("base", "brief")  # rows without a search
WORDS = {
    "base": "base, trained as long",
    "brief": "base, trained as long as such a student",
    "random": "random search",
    "pruning": "pruning only",
    "distillation": "distillation only",
    "pipeline": "search, then prune, then distil",
    "no-inheritance": "joint without inheritance",
    "backbone": "joint, backbone alone (the paper's space)",
    "joint": "joint, whole detector",
}


def make_config(arguments: argparse.Namespace, seed: int) -> RunConfig:
    """What all rows of a seed share."""
    size = parse_size(arguments.size)
    recipe = quick(arguments.data.resolve())
    assert recipe.pool is not None
    phases = [
        train.model_copy(update={"epochs": epochs}) for train, epochs in zip(recipe.pool.train, arguments.pool_epochs)
    ]
    return recipe.changed(
        {
            "base": arguments.base,
            "weights": None,
            "seed": seed,
            "input_size": size,
            "region_proposals": 100,
            "search.space.sizes": scaled_sizes(size),
            "search.space.region_proposals": (100, 50),
            "search.trials": arguments.trials,
            "search.finetuned": 1,
            "finetune.epochs": arguments.finetune_epochs,
            "pool": recipe.pool.model_copy(update={"train": tuple(phases)}),
            "base_epochs": "fixed",
            "base_train.epochs": arguments.base_epochs,
            "search_protocol": arguments.protocol,
            "final_protocol": "quick",
            "variants": VariantsConfig(),  # none: the question is what the search gains
            "teacher_pool": (arguments.out / "teachers").resolve(),
        }
    )


def make_row(arguments: argparse.Namespace, row: str, seed: int) -> tuple[RunConfig, Path]:
    """Configuration and folder of one row; "start" is the base that the others start from."""
    config = make_config(arguments, seed)
    folder = arguments.out / f"{row}-{seed}"
    if row in ("start", *ALONE):
        epochs = arguments.base_epochs
        if row == "base":
            epochs += arguments.trials + arguments.finetune_epochs
        elif row == "brief":  # a student of the second generation: the base's, two of its own, fine-tuning
            epochs += 2 + arguments.finetune_epochs
        alone = {"search.trials": 0, "search.teacher": "none", "base_train.epochs": epochs}
        return config.changed(alone), folder
    return config.changed({**ROWS[row], "base_run": (arguments.out / f"start-{seed}").resolve()}), folder


def do_row(arguments: argparse.Namespace) -> None:
    """One row in this process; goes on where it was."""
    plain = build_meter

    def build_quiet(*settings: Any) -> CostMeter:
        return QuietMeter(plain(*settings), arguments.out)

    run_module.build_meter = build_quiet  # the rows run beside each other, and no measurement may
    with registered(arguments.out):
        if arguments.row == "pool":
            run_module.train_teachers(make_config(arguments, 0), arguments.out / "teachers")
            return
        config, folder = make_row(arguments, arguments.row, arguments.seed)
        if (folder / DATABASE).exists():
            run_module.resume_run(folder)
        else:
            run_module.start_run(config, folder)


@dataclass(frozen=True)
class QuietMeter:
    """Measures while the other rows are stopped."""

    meter: CostMeter
    out: Path

    def measure(self, student: Candidate, base: Candidate) -> RelativeCost:
        with quiet(self.out):
            return self.meter.measure(student, base)

    def measure_all(self, candidates: Mapping[int, Candidate]) -> dict[int, RelativeCost | MeasurementFailure]:
        with quiet(self.out):
            return self.meter.measure_all(candidates)


@contextmanager
def registered(out: Path) -> Iterator[None]:
    """This process is among those that a measurement stops, for as long as it holds its mark's lock."""
    mark = out / "pids" / str(os.getpid())
    mark.parent.mkdir(parents=True, exist_ok=True)
    with mark.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            mark.unlink(missing_ok=True)


@contextmanager
def quiet(out: Path) -> Iterator[None]:
    """The other rows are stopped meanwhile, and one row measures at a time."""
    with (out / "measuring.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        others = [pid for pid in list_running(out) if pid != os.getpid()]
        try:
            send(signal.SIGSTOP, others)
            yield
        finally:
            send(signal.SIGCONT, others)


def list_running(out: Path) -> list[int]:
    """Processes whose mark is locked; a mark that nobody holds is of one that was killed, and goes."""
    running = []
    for mark in (out / "pids").glob("*"):
        with suppress(FileNotFoundError), mark.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                mark.unlink()
            except BlockingIOError:
                running.append(int(mark.name))
    return running


def send(number: int, pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it has ended
            os.kill(pid, number)


def do_run(arguments: argparse.Namespace) -> None:
    """All rows, several at a time."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    send(signal.SIGCONT, list_running(arguments.out))  # whom a killed measurement left stopped
    settings = {
        name: str(getattr(arguments, name))
        for name in ("base", "size", "base_epochs", "trials", "finetune_epochs", "pool_epochs", "data", "seeds")
    }
    (arguments.out / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")
    seeds, rows = [int(seed) for seed in arguments.seeds.split(",")], arguments.rows.split(",")
    if unknown := [row for row in rows if row not in WORDS]:
        sys.exit(f"there is no row {unknown[0]!r}; there are: {', '.join(WORDS)}")
    starts = [("start", seed) for seed in seeds]
    untaught = [("pool", 0), *((row, seed) for seed in seeds for row in rows if row in (*ALONE, "pruning"))]
    taught = [(row, seed) for seed in seeds for row in rows if row not in (*ALONE, "pruning")]
    for batch in (starts, untaught, taught):
        with ThreadPoolExecutor(arguments.jobs) as workers:
            codes = list(workers.map(lambda item: start_row(arguments, *item), batch))
        if any(codes):
            sys.exit(f"{sum(map(bool, codes))} rows failed; see {arguments.out}/*.log, then start again")


def start_row(arguments: argparse.Namespace, row: str, seed: int) -> int:
    """One row in a process of its own, on its share of the cores."""
    threads = max((os.cpu_count() or 1) // arguments.jobs, 1)
    command = [sys.executable, __file__, "row", "--row", row, "--seed", str(seed)]
    command += ["--pool-epochs", *map(str, arguments.pool_epochs)]
    for name in ("base", "size", "base_epochs", "trials", "finetune_epochs", "protocol", "data", "out"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    with (arguments.out / f"{row}-{seed}.log").open("a") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        return subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment).returncode


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function in (("run", do_run), ("row", do_row), ("teachers", do_teachers), ("table", do_table)):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("--out", type=Path, required=True)
        if name in ("teachers", "table"):
            continue
        command.add_argument("--data", type=Path, required=True)
        command.add_argument("--base", default="r18")
        command.add_argument("--size", default="256x192")
        command.add_argument("--base-epochs", type=int, default=4)
        command.add_argument("--trials", type=int, default=6)
        command.add_argument("--finetune-epochs", type=int, default=2)
        command.add_argument(
            "--protocol", default="quick", help="of latency in the search; the table has its own lease"
        )
        command.add_argument("--pool-epochs", type=int, nargs=3, default=(8, 3, 5))
        if name == "row":
            command.add_argument("--row", required=True)
            command.add_argument("--seed", type=int, required=True)
        else:
            command.add_argument("--seeds", default="1,2")
            command.add_argument("--rows", default=",".join((*ALONE, *ROWS)), help="default: all of them, %(default)s")
            command.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out = arguments.out.resolve()
    arguments.function(arguments)


if __name__ == "__main__":
    main()
