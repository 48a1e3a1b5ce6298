"""A run whose machine loses its power, at every moment that can differ: does it go on to the trials it would have had?

    python benchmarks/power_cuts.py --work /tmp/cuts --report benchmarks/reports/NAME.md

Everything a run does to the disk is noted, from its first folder to its report: making, writing, flushing, renaming and
removing of files, SQLite's and torch's among them (`tests/doubles/disk.c`). Before each of these calls, but for writes,
three states of the disk are made of what was noted (`tests/parts/replay.py`): with nothing that was not flushed; with
all names, and no content that was not flushed; and with what dice leave of both. From each different state the run is
resumed, or started again where there is none, and must end with the trials, the front and the bundles of one that was
never disturbed. Networks and images are tiny (`tests/parts/tiny_runs.py`). Each process notes a run of its own and
takes its share of the states. Start it again to go on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "parts")]

from disk import Action, Calls, Disk, read_trace  # noqa: E402
from replay import State, lay, list_states  # noqa: E402
from shares import Row, add_options, compose, do_share, share_out  # noqa: E402
from warm import Ended, fork, import_all, wait_for  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=lambda text: text.split(","), default=["joint", "pareto"], help="kinds of runs")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every Nth state only (default: all)")
    add_options(parser)
    options = parser.parse_args()
    if options.share is not None:
        cutter = _Cutter(options.work, options.share, options.processes, options.runs, options.every)
        do_share(options.work, options.share, options.processes, len(cutter.states), cutter.cut)
        return
    given = ["--runs", ",".join(options.runs), "--every", str(options.every)]
    share_out(Path(__file__), options, given, _describe)


class _Cutter:
    """Resumes runs from what is left of them, in a process that has nothing but everything imported."""

    def __init__(self, work: Path, share: int, processes: int, runs: list[str], every: int) -> None:
        self.place = work / f"share-{share}"
        self.place.mkdir(parents=True, exist_ok=True)
        import_all()
        from tiny_runs import make_configs, make_tiny

        make_tiny()
        self.configs, self.disk, self.folder = make_configs(), Disk(self.place / "control"), self.place / "case"
        self.wholes, states = dict[str, Row](), list[tuple[str, str, State]]()
        for name in runs:
            states += [(name, when, state) for when, state in self._record(name)]
        self.states = states[::every]
        for number in range(len(self.states)):
            if number % processes != share:  # another's: it would take memory
                self.states[number] = ("", "", {})

    def cut(self, number: int, place: Path) -> Row | None:
        from tiny_runs import find_differences

        if number >= len(self.states):
            return None
        name, when, state = self.states[number]
        shutil.rmtree(self.folder, ignore_errors=True)
        lay(self.folder, state)
        begun, failures = "run/run.db" in state, list[str]()
        try:
            ended = self._go(name)
            if ended.status:
                failures.append(f"it ends with {ended.status}: {(ended.stderr or ended.stdout).strip()[-600:]}")
            else:
                failures += find_differences(self.wholes[name], self.folder)
        except TimeoutError as error:
            failures.append(str(error))
        if failures:
            lay(place / f"failed-{number}", state)
        return {"counts": 1, "run": name, "when": when, "begun": begun, "failures": failures}

    def _record(self, name: str) -> list[tuple[str, State]]:
        """All states of a run; the first of all processes keeps what was noted, for those that go on later."""
        from tiny_runs import look_at

        trace, whole = self.place / f"trace-{name}", self.place / f"whole-{name}.json"
        if not whole.exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()
            trace.unlink(missing_ok=True)
            self.disk.set(self.folder, Action.RECORD, Calls.ALL, trace=trace)
            ended = self._go(name)
            self.disk.rest()
            if ended.status:
                sys.exit(f"a run fails on a disk that works: {ended.stderr[-2000:]}")
            whole.write_text(json.dumps(look_at(self.folder / "run")))
        self.wholes[name] = json.loads(whole.read_text())
        return list(list_states(self.folder, read_trace(trace)))

    def _go(self, name: str) -> Ended:
        run = self.folder / "run"

        def work() -> None:
            from optimizer.run.run import resume_run, start_run

            self.disk.attach()
            if (run / "run.db").exists():
                resume_run(run)
            else:
                start_run(self.configs[name], run)

        return wait_for(fork(work, self.place / "said"), self.place / "said")


def _describe(rows: list[Row], seconds: float) -> str:
    good = [row for row in rows if not row["failures"]]

    def count(chosen: list[Row]) -> Counter[tuple[str, str]]:
        return Counter((row["run"], row["when"].split(",")[0]) for row in chosen)

    of, well, begun = count(rows), count(good), sum(row["begun"] for row in rows)
    found = [
        "| run | nothing that was not flushed | all names, no such content | what dice leave |",
        "|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["run"] for row in rows):
        cells = [f"{well[name, kind]} of {of[name, kind]}" for kind in ("least", "named", "mixed")]
        found.append(f"| {name} | " + " | ".join(cells) + " |")
    found += [""] + [
        f"- state {row['number']} ({row['run']}; {row['when']}): {' '.join(failure.split())[:500]}"
        for row in rows
        for failure in row["failures"]
    ]
    return compose(
        f"Runs whose machine loses its power, at {len(rows)} moments",
        "does a run go on from what a power cut leaves of it, and end with the trials it would have had?",
        seconds,
        f"{len(good)} of {len(rows)} states of the disk led to the same trials, front and "
        f"bundles; in {begun} of them the run had begun, from the others it was started anew.",
        found,
        [
            "A write is there or not: none is torn, and no disk forgets what it said it had flushed.",
            "What SQLite's processes share in memory (`-shm`) is made anew, as SQLite does it.",
            "Networks are tiny and their export is left out: a model is a constant with the hash of its weights.",
            "Trainings are shorter than ten minutes, so no checkpoint waits for the disk.",
        ],
    )


if __name__ == "__main__":
    main()
