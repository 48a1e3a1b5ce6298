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
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from joint_detnas_rows import ALONE, ROWS, WORDS, make_config, make_row
from joint_detnas_table import do_table, do_teachers
from quiet_rows import QuietMeter, list_running, registered, send

from optimizer.cost.base import CostMeter
from optimizer.run import run as run_module
from optimizer.store.run_store import DATABASE
from optimizer.trials.judge import build_meter


def do_row(arguments: argparse.Namespace) -> None:
    """One row in this process; goes on where it was."""
    plain = build_meter

    def build_quiet(*settings: Any) -> CostMeter:
        return QuietMeter(plain(*settings), arguments.out)

    run_module.build_meter = build_quiet  # the rows run beside each other, and no measurement may
    with registered(arguments.out):
        if arguments.row == "pool":
            run_module.train_supernet(make_config(arguments, 0), arguments.out / "teachers")
            return
        config, folder = make_row(arguments, arguments.row, arguments.seed)
        if (folder / DATABASE).exists():
            run_module.resume_run(folder)
        else:
            run_module.start_run(config, folder)


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
