"""Runs killed at random moments, each resumed to its end: has it the trials of one that was never disturbed?

    python benchmarks/thousand_kills.py --kills 1000 --work /tmp/kills --report benchmarks/reports/NAME.md

A run is killed again and again until it ends. Two kinds take turns: a `joint` search with a teacher pool, and a
`pareto` search with its looks, rungs and last training. Networks and images are tiny, a model is a constant with the
hash of the weights it stands for, and AP is a formula of that (`tests/parts/tiny_runs.py`), so a run takes seconds. All
else is what always runs. Half of the kills fall after a random time, half at a random call that changes the disk, of
which half has arrived if it is a write (`tests/doubles/disk.c`, which needs a C compiler and Linux). In the end
`optimize report` is killed once, too.

What must be equal: everything in the table of trials that is not a time, and the front. Every bundle must open, the
page be there, and no file be left that was being written. Start it again to go on where it was stopped.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "parts")]

from disk import Action, Calls, Disk  # noqa: E402
from shares import Row, add_options, compose, do_share, share_out  # noqa: E402
from warm import Ended, fork, import_all, wait_for  # noqa: E402

MOST_KILLS = 30  # of one run
SHARE = 6  # of a run, at most, between two kills
PHASES = (  # by the last line of the log that has these words
    ("models in one lease", "last lease"), ("write bundles", "bundles"),
    ("bundles:", "report"), ("pre-training", "pool"), ("teachers ", "pool"), ("teachers:", "pool"), ("base: ", "base"),
    ("untrained students", "probes"), ("search ended", "last training"), ("screened", "looks"), ("trial ", "trial"),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--runs", type=lambda text: text.split(","), default=["joint", "pareto"], help="kinds of runs")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    add_options(parser)
    options = parser.parse_args()
    if options.share is not None:
        killer = _Killer(
            options.work / f"share-{options.share}", options.runs, options.seed, -(-options.kills // options.processes)
        )
        do_share(options.work, options.share, options.processes, options.kills, killer.kill_a_run)
        return
    given = ["--kills", str(options.kills), "--seed", str(options.seed), "--runs", ",".join(options.runs)]
    share_out(Path(__file__), options, given, _describe)


class _Killer:
    """Kills runs in a folder of its own, in a process that has nothing but everything imported."""

    def __init__(self, place: Path, runs: list[str], seed: int, kills: int) -> None:
        place.mkdir(parents=True, exist_ok=True)
        import_all()
        from tiny_runs import make_configs, make_tiny

        make_tiny()
        self.place, self.seed, self.runs, self.configs = place, seed, runs, make_configs()
        self.most = min(kills, MOST_KILLS)
        self.disk, self.wholes = Disk(place / "control"), dict[str, tuple[Row, float, int]]()

    def kill_a_run(self, number: int, place: Path) -> Row:
        from tiny_runs import find_differences

        name = self.runs[number % len(self.runs)]
        whole, seconds, calls = self._find_whole(name)
        rng = random.Random(f"{self.seed} {number}")
        folder = self.place / "killed"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        run, kills, failures = folder / "run", list[Row](), list[str]()
        ended: Ended | None = None
        while len(kills) < self.most:
            by_call = rng.random() < 0.5
            at_call = rng.randrange(1, calls // SHARE) if by_call else 0
            after_s = None if by_call else rng.random() * seconds / SHARE
            seen = (run / "log.txt").stat().st_size if (run / "log.txt").exists() else 0
            ended = self._go(name, run, at_call, after_s)
            if ended.status != -9:
                break
            kills.append({"phase": _find_phase(run, seen, self.disk.what), "how": "call" if by_call else "time"})
            if self.disk.what:
                kills[-1]["call"] = re.sub(r"\.[0-9a-f]{16}\.", ".*.", self.disk.what.replace(str(folder), ""))
        else:
            ended = self._go(name, run)
        if ended.status:
            failures.append(f"it ended with {ended.status}: {(ended.stderr or ended.stdout).strip()[-600:]}")
        else:
            ended = self._go(name, run, rng.randrange(1, 30), report=True)
            if ended.status == -9:
                kills.append({"phase": "optimize report", "how": "call", "call": self.disk.what.split("/run/")[-1]})
            if self._go(name, run, report=True).status:
                failures.append("a report could not be written again")
            failures += find_differences(whole, folder)
        if failures:
            shutil.move(folder, place / f"failed-{number}")
        return {"counts": len(kills), "run": name, "kills": kills, "failures": failures}

    def _find_whole(self, name: str) -> tuple[Row, float, int]:
        """What a run comes to that nobody kills, how long it takes, and how often it changes the disk."""
        from tiny_runs import look_at

        if name not in self.wholes:
            folder = self.place / f"whole-{name}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            ended = self._go(name, folder / "run")
            if ended.status:
                sys.exit(f"a run that nobody kills fails: {ended.stderr[-2000:]}")
            self.wholes[name] = look_at(folder / "run"), ended.seconds, self.disk.counted
            shutil.rmtree(folder)
        return self.wholes[name]

    def _go(self, name: str, run: Path, at_call: int = 0, after_s: float | None = None, report: bool = False) -> Ended:
        """Start the run, or go on with it, or report it."""

        def work() -> None:
            from optimizer.run.run import resume_run, rewrite_report, start_run

            self.disk.attach()
            if report:
                rewrite_report(run)
            elif (run / "run.db").exists():
                resume_run(run)
            else:
                start_run(self.configs[name], run)

        self.disk.set(run.parent, Action.KILL, Calls.ALL, at_call)
        return wait_for(fork(work, self.place / "said"), self.place / "said", after_s)


def _find_phase(run: Path, seen: int, call: str) -> str:
    """Where a kill fell, by the file that was being changed, else by the last line that was logged in this process."""
    for part, phase in (
        ("report.html", "report"),
        ("/bundles/", "bundles"),
        ("/teachers/", "pool"),
        ("run/data", "start"),
    ):
        if part in call:
            return phase
    if not (run / "log.txt").exists():
        return "start"
    with (run / "log.txt").open("rb") as file:
        file.seek(seen)
        lines = file.read().decode(errors="replace").splitlines()
    is_last = b"search ended" in (run / "log.txt").read_bytes()
    for line in reversed(lines):
        for words, phase in PHASES:
            if words in line:
                return "last training" if phase == "trial" and is_last else phase
    return "start of a resumed run" if seen else "start"


def _describe(rows: list[Row], seconds: float) -> str:
    kills = [(kill, not row["failures"]) for row in rows for kill in row["kills"]]
    good, whole = sum(ok for _, ok in kills), sum(not row["failures"] for row in rows)
    fallen, survived = Counter(kill["phase"] for kill, _ in kills), Counter(kill["phase"] for kill, ok in kills if ok)
    found = [
        "| phase in which the kill fell | kills that changed nothing | by a call to the disk | after a time |",
        "|---|---|---|---|",
    ]
    for phase, count in fallen.most_common():
        by_call = sum(kill["how"] == "call" for kill, _ in kills if kill["phase"] == phase)
        found.append(f"| {phase} | {survived[phase]} of {count} | {by_call} | {count - by_call} |")
    found += [f"- run {row['number']} ({row['run']}): {failure[:500]}" for row in rows for failure in row["failures"]]
    found.append("")
    return compose(
        f"{len(kills)} kills at random moments",
        "does a run that is killed anywhere, again and again, end with the trials of one that never was?",
        seconds,
        f"{whole} of {len(rows)} runs ended as they should: {good} of {len(kills)} kills changed nothing.",
        found,
        [
            "Networks are tiny and their export is left out: a model is a constant with the hash of its weights.",
            "One process trains, on a CPU, without processes that load images; nothing is measured on a device.",
            "A kill loses no data that the system holds; power cuts are another matter (`power_cuts.py`).",
            "Methods `detnas`, `detofa`, `etp` and `distill`, and other exports of the front, are killed by tests "
            "alone.",
        ],
    )


if __name__ == "__main__":
    main()
