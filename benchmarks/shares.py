"""Work of many pieces, shared by processes. Each piece's outcome is a line in a file: what was stopped goes on."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

from disk import build_disk

__all__ = ["Row", "add_options", "compose", "do_share", "read_rows", "share_out"]

Row: TypeAlias = dict[str, Any]  # "number": of the piece; "counts": for how much it counts
GOAL = "goal"  # the file that says for how much all is to count
POLL_S, SAID_EVERY_S = 0.2, 5.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every such benchmark can be told."""
    parser.add_argument(
        "--work", type=Path, help="folder of what is tried, and of rows, kept to go on (default: a new one, removed)"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--report", type=Path, metavar="PATH.md", help="write a report, and all rows as JSON beside it")
    parser.add_argument("--share", type=int, help=argparse.SUPPRESS)


def share_out(
    script: Path, options: argparse.Namespace, given: list[str], describe: Callable[[list[Row], float], str]
) -> None:
    """Have the script do all shares, keep what `describe` says of rows and seconds, and exit, with 1 if one failed."""
    work = options.work or Path(tempfile.mkdtemp(prefix="shares-"))
    work.mkdir(parents=True, exist_ok=True)
    library = build_disk(work)
    if library is None:
        sys.exit("this needs a C compiler (cc or gcc)")
    began = time.monotonic()
    rows = _start_shares(script, given, work, options.processes, library)
    text = describe(rows, time.monotonic() - began)
    print(text)
    if options.report:
        raw = options.report.with_suffix(".json")
        options.report.write_text(f"{text}\nAll figures: [{raw.name}]({raw.name}).\n")
        raw.write_text(json.dumps(rows, indent=1) + "\n")
    if options.work is None:
        shutil.rmtree(work)
    sys.exit(any(row["failures"] for row in rows))


def compose(
    title: str, question: str, seconds: float, outcome: str, found: Sequence[str], not_claimed: Sequence[str]
) -> str:
    """The report of a benchmark: what was asked, how and where it was run, and what came of it."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    lines = [
        f"# {title} ({date.today()})",
        "",
        f"Question: {question}",
        "",
        f"    python benchmarks/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}",
        "",
        f"Commit {commit.stdout.strip()}, Python {platform.python_version()}, {os.cpu_count()} cores; "
        f"{seconds / 60:.1f} minutes. {outcome}",
        "",
        *found,
        "## What this does not claim",
        "",
        *(f"- {line}" for line in not_claimed),
        "",
    ]
    return "\n".join(lines)


def _start_shares(script: Path, options: list[str], folder: Path, processes: int, library: Path) -> list[Row]:
    """Start the script once for each share, with the library preloaded, and say how far it is; all rows, by number.

    Raises:
        SystemExit: one of them failed.
    """
    began, known = time.monotonic(), _count(read_rows(folder))
    environment = {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, str(script), *options, "--work", str(folder), "--processes", str(processes)]
    children = [subprocess.Popen([*command, "--share", str(share)], env=environment) for share in range(processes)]
    said = 0.0
    while any(child.poll() is None for child in children):
        time.sleep(POLL_S)
        passed = time.monotonic() - began
        if passed - said >= SAID_EVERY_S:
            rows, said = read_rows(folder), passed
            goal = int((folder / GOAL).read_text()) if (folder / GOAL).exists() else 0
            done, failed = _count(rows), sum(bool(row.get("failures")) for row in rows)
            left = (
                f"{passed / (done - known) * (goal - done) / 60:.1f} min left"
                if done > known and goal
                else "no time known yet"
            )
            print(f"{done} of {goal}, {failed} pieces failed, {left}", file=sys.stderr, flush=True)
    if any(child.returncode for child in children):
        sys.exit("a process ended with an error; its last lines are above. Start again to go on")
    return read_rows(folder)


def do_share(folder: Path, share: int, processes: int, goal: int, do: Callable[[int, Path], Row | None]) -> None:
    """Do the pieces of one share until they count for its part of the goal, or there are no more."""
    (folder / GOAL).write_text(str(goal))
    own, place = folder / f"rows-{share}.jsonl", folder / f"share-{share}"
    place.mkdir(exist_ok=True)
    done = list(_read(own))
    counted, number = _count(done), max((row["number"] for row in done), default=share - processes)
    parent = os.getppid()
    while counted < -(-goal // processes) and os.getppid() == parent:
        number += processes
        row = do(number, place)
        if row is None:
            return
        with own.open("a") as file:
            file.write(json.dumps({"number": number, **row}) + "\n")
        counted += row["counts"]


def read_rows(folder: Path) -> list[Row]:
    """What was done so far."""
    rows = [row for path in folder.glob("rows-*.jsonl") for row in _read(path)]
    return sorted(rows, key=lambda row: int(row["number"]))


def _read(path: Path) -> Iterator[Row]:
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                yield json.loads(line)
            except ValueError:  # the last one, cut short
                return


def _count(rows: list[Row]) -> int:
    return sum(row["counts"] for row in rows)
