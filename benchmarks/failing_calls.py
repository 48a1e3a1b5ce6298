"""Commands on a disk that fails at the n-th call, for every n: one line, the right exit code, and then they work?

    python benchmarks/failing_calls.py --work /tmp/failing --report benchmarks/reports/NAME.md

Each command is done once while all calls are noted that open, write, flush or rename a file, or make a folder. Then it
is done once for each of these calls, which fails with EIO, ENOSPC or EROFS, alone or with all that follow of its kind.
The calls are those of the system, so those of SQLite, torch, safetensors, ONNX and ONNX Runtime are among them
(`tests/doubles/disk.c`). Of many writes into one file, one after another, the first, the second and the last fail.
Networks and images are tiny (`tests/parts/tiny_runs.py`); `deploy build` builds by the double of TensorRT.

A command may succeed all the same. Otherwise the last line on stderr is its only one without a time or progress; it
names the failure as the system or SQLite does, and the exit code is 1, or 2 where it had done nothing yet. Then, on a
disk that works, it is done again (a run that has begun is resumed), and comes to what it comes to undisturbed; no file
is left that was being written. Start it again to go on where it was stopped.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOUBLES = ROOT / "tests" / "doubles"
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "parts"), str(DOUBLES)]

from disk import Action, Calls, Disk, Event, read_trace  # noqa: E402
from shares import Row, add_options, compose, do_share, share_out  # noqa: E402
from warm import Ended, fork, import_all, wait_for  # noqa: E402

KINDS = Calls.OPEN | Calls.WRITE | Calls.FSYNC | Calls.RENAME | Calls.MKDIR
CODES = (errno.ENOSPC, errno.EIO, errno.EROFS)
WAYS = tuple(product((False, True), CODES))  # whether it lasts, and how it fails
OF_SQLITE = ("disk I/O error", "database or disk is full", "unable to open database file", "readonly database")
KILL_AT = 0.6  # of the calls of a run: where the one to be resumed was killed


@dataclass(frozen=True)
class Command:
    """Something a user does.

    Attributes:
        words: of the command line, but for the program's name; {} is the folder.
        needs: what is in the folder before: a key of `_Prober.prepared`.
        look: what it comes to.
        exports: whether networks are exported, or models are constants.
        only: of the calls, those with this in their path; all where it is empty.
    """

    words: tuple[str, ...]
    needs: str
    look: Callable[[Path], Any]
    exports: bool = False
    only: str = ""

    @property
    def is_run(self) -> bool:
        """Whether it begins a run, which is to be resumed once it has begun."""
        return "--preset" in self.words


def _look_at_run(folder: Path) -> Any:
    from tiny_runs import read_trials

    bundles = sorted(path.name for path in (folder / "run" / "bundles").iterdir())
    whole = (folder / "run" / "report.html").read_text().rstrip().endswith("</html>")
    return [list(row) for row in read_trials(folder / "run")], bundles, whole, (folder / "run" / "front.json").exists()


def _look_at_bundle(folder: Path) -> Any:
    from deploy import open_bundle

    return dict(open_bundle(folder / "out").manifest.files)


def _look_at_plans(folder: Path) -> Any:
    from deploy.engines.plan import read_plan

    return [len(read_plan(path).content) for path in sorted((folder / "plans").glob("*/model.plan"))]


RUN = ("optimize", "--base", "r18", "--out", "{}/run", "--preset")
COMMANDS = {
    "start": Command((*RUN, "short"), "nothing", _look_at_run),
    "export": Command((*RUN, "base"), "nothing", _look_at_run, exports=True, only="/tmp/"),
    "resume": Command(("optimize", "resume", "{}/run"), "killed", _look_at_run),
    "report": Command(("optimize", "report", "{}/run"), "done", _look_at_run),
    "convert": Command(
        ("deploy", "convert", "{}/run/bundles/base", "--precision", "int8", "--data", "{}/run/data", "--out", "{}/out",
         "--max-ap-drop", "1"),
        "done", _look_at_bundle, exports=True,
    ),
    "build": Command(
        ("deploy", "build", "{}/run/bundles/base", "--out", "{}/plans"), "done", _look_at_plans, exports=True,
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--commands", type=lambda text: text.split(","), default=list(COMMANDS), help=", ".join(COMMANDS)
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every Nth call only (default: all)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first call that is taken")
    add_options(parser)
    options = parser.parse_args()
    if options.share is not None:
        prober = _Prober(options.work / f"share-{options.share}", options.commands, options.every, options.first)
        do_share(options.work, options.share, options.processes, prober.count, prober.try_call)
        return
    given = ["--commands", ",".join(options.commands), "--every", str(options.every), "--first", str(options.first)]
    share_out(Path(__file__), options, given, _describe)


class _Prober:
    """Tries commands in a folder of its own, in a process that has nothing but everything imported."""

    def __init__(self, place: Path, commands: list[str], every: int, first: int) -> None:
        place.mkdir(parents=True, exist_ok=True)
        import_all()
        from tiny_runs import make_configs

        self.place, self.configs = place, make_configs()
        self.disk, self.folder = Disk(place / "control"), place / "case"
        self.environment = self._pretend_tensorrt()
        needed = {"nothing", *(COMMANDS[name].needs for name in commands)}
        self.prepared, self.trials = self._prepare(needed), dict[str, int]()
        for name in self.prepared:  # of a copy: what opens a database may change it
            self._lay(name)
            self.trials[name] = _count_trials(self.folder / "run")
        self.wholes = dict[str, Any]()
        cases = [(name, *call) for name in commands for call in self._list_calls(name)]
        self.cases = cases[first::every]
        self.count = len(self.cases)

    def try_call(self, number: int, place: Path) -> Row | None:
        if number >= self.count:
            return None
        name, kind, at, path = self.cases[number]
        lasts, code = WAYS[number % len(WAYS)]
        command, failures, run = COMMANDS[name], list[str](), self.folder / "run"
        self._lay(command.needs)
        self.disk.set(self.folder, Action.FAIL, kind, at, code, lasts)
        ended = self._do(command)
        what = self.disk.what
        self.disk.rest()
        begun = (run / "run.db").exists()
        if what:
            worked = ended.status == 2 and _count_trials(run) > self.trials[command.needs]
            failures += _judge(command, ended, code, worked)
        said = ended.stderr.strip().splitlines()
        if ended.status or not what:
            ended = self._do(command, resume=command.is_run and begun)
            if ended.status:
                failures.append(f"then it fails on a disk that works: {ended.stderr.strip()[-400:]}")
        if not ended.status and command.look(self.folder) != self.wholes[name]:
            failures.append("then it comes to something else")
        left = [path for path in self.folder.rglob("*") if ".part" in path.name or path.parent.name == "tmp"]
        if left:
            failures.append(f"left behind: {', '.join(path.relative_to(self.folder).as_posix() for path in left)}")
        return {
            "counts": 1, "command": name, "call": kind.name, "at": at, "path": path, "fails": errno.errorcode[code],
            "lasts": lasts, "reached": bool(what), "said": said[-1:], "failures": failures,
        }  # fmt: skip

    def _list_calls(self, name: str) -> list[tuple[Calls, int, str]]:
        """Kind, number among those of its kind, and path of the calls of a command that are to fail."""
        command, trace = COMMANDS[name], self.place / "trace"
        trace.unlink(missing_ok=True)
        self._lay(command.needs)
        self.disk.set(self.folder, Action.RECORD, KINDS, trace=trace)
        ended = self._do(command)
        self.disk.rest()
        if ended.status:
            sys.exit(f"{name} fails on a disk that works: {ended.stdout[-500:]}{ended.stderr[-2000:]}")
        self.wholes[name] = command.look(self.folder)
        calls = [event for event in read_trace(trace) if event.kind == "k"]
        found = []
        for kind in KINDS:
            own = [event for event in calls if event.inode == kind]
            for path, number in _thin_out(own) if kind == Calls.WRITE else [(e.path, n) for n, e in enumerate(own, 1)]:
                if command.only in path:
                    found.append((kind, number, path.replace(str(self.folder), "")))
        return found

    def _prepare(self, needed: Iterable[str]) -> dict[str, Path]:
        """What is in the folder before a command."""
        places = {name: self.place / f"before-{name}" for name in needed}
        for place in places.values():
            shutil.rmtree(place, ignore_errors=True)
            (place / "tmp").mkdir(parents=True)
        self.prepared = places
        if "killed" in places:
            self._lay("nothing")
            self.disk.set(self.folder, Action.COUNT, KINDS)
            ended = self._do(COMMANDS["start"])
            calls = self.disk.counted
            if ended.status:
                sys.exit(f"a run fails on a disk that works: {ended.stderr[-2000:]}")
            self._lay("nothing")
            self.disk.set(self.folder, Action.KILL, KINDS, int(KILL_AT * calls))
            self._do(COMMANDS["start"])
            shutil.copytree(self.folder, places["killed"], dirs_exist_ok=True)
        if "done" in places:
            self._lay("nothing")
            self.disk.rest()
            self._do(COMMANDS["export"])
            shutil.copytree(self.folder, places["done"], dirs_exist_ok=True)
        return places

    def _lay(self, needs: str) -> None:
        self.disk.rest()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.prepared[needs], self.folder)

    def _do(self, command: Command, resume: bool = False) -> Ended:
        words = ("optimize", "resume", "{}/run") if resume else command.words
        program, *arguments = [word.replace("{}", str(self.folder)) for word in words]

        def work() -> None:
            from tiny_runs import make_tiny

            from deploy.cli.parser import main as deploy
            from optimizer.cli import main as optimize
            from optimizer.recipes import RECIPES

            make_tiny(exports=command.exports)
            RECIPES.update({name: lambda data, c=config: c for name, config in self.configs.items()})
            os.environ.update(self.environment, TMPDIR=str(self.folder / "tmp"), COLUMNS="200")
            tempfile.tempdir = None
            self.disk.attach()
            (optimize if program == "optimize" else deploy)(arguments)

        return wait_for(fork(work, self.place / "said"), self.place / "said")

    def _pretend_tensorrt(self) -> dict[str, str]:
        home = self.place / "cuda"
        (home / "lib64").mkdir(parents=True, exist_ok=True)
        compiler = shutil.which("cc") or shutil.which("gcc") or sysconfig.get_config_var("CC")
        library = home / "lib64" / "libcudart.so"
        own = ["-shared", "-fPIC", "-Wl,-Bsymbolic", "-o", str(library), str(DOUBLES / "cudart.c")]
        subprocess.run([str(compiler), *own], check=True)
        paths = os.pathsep.join([str(DOUBLES), *filter(None, [os.environ.get("PYTHONPATH")])])
        return {"CUDA_HOME": str(home), "TENSORRT_DOUBLE": json.dumps({"version": "10.3.0"}), "PYTHONPATH": paths}


def _thin_out(writes: list[Event]) -> list[tuple[str, int]]:
    """Path and number of the first, the second and the last of writes into one file, one after another."""
    found = []
    for path, group in groupby(enumerate(writes, 1), key=lambda item: item[1].path):
        numbers = [number for number, _ in group]
        found += [(path, number) for number in dict.fromkeys([*numbers[:2], numbers[-1]])]
    return found


def _count_trials(run: Path) -> int:
    if not (run / "run.db").exists():
        return 0
    with closing(sqlite3.connect(f"file:{run / 'run.db'}", uri=True)) as database:
        try:
            return int(database.execute("select count(*) from trials").fetchone()[0])
        except sqlite3.Error:  # it has no table yet
            return 0


def _judge(command: Command, ended: Ended, code: int, worked: bool) -> list[str]:
    """What is wrong with how a command ended whose call failed; `worked`: whether it had added trials to a run."""
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    text = "\n".join(lines)
    if "Traceback" in text or "Warning" in text:
        return [f"a traceback or a warning: {text[-600:]}"]
    if ended.status == 0:
        return []
    failures = []
    if ended.status not in (1, 2) or (ended.status == 2 and worked):
        failures.append(f"it ends with {ended.status}: {text[-300:]}")
    if not lines or not lines[-1].startswith(f"{command.words[0]}: "):
        return [*failures, f"the last line is none of ours: {text[-300:]}"]
    if command.words[0] == "optimize" and len(lines) > 1:
        failures.append(f"more than one line: {text[-600:]}")
    if "unexpected" in lines[-1]:
        failures.append(f"it was not expected: {lines[-1][:300]}")
    if not any(words in lines[-1] for words in (os.strerror(code), *OF_SQLITE)):
        failures.append(f"the line does not say that {os.strerror(code)!r}: {lines[-1][:300]}")
    return failures


def _describe(rows: list[Row], seconds: float) -> str:
    good = [row for row in rows if not row["failures"]]
    of, well = Counter((row["command"], row["call"]) for row in rows), Counter((r["command"], r["call"]) for r in good)
    found = [
        "| command | " + " | ".join(kind.name.lower() for kind in KINDS) + " |",
        "|---" * (len(KINDS) + 1) + "|",
    ]
    for name in dict.fromkeys(row["command"] for row in rows):
        cells = [f"{well[name, kind.name]} of {of[name, kind.name]}" for kind in KINDS]
        found.append(f"| {name} | " + " | ".join(cells) + " |")
    found += ["", "Calls that failed, by how: " + ", ".join(
        f"{name} {count}" for name, count in sorted(Counter(row["fails"] for row in rows).items())), ""]  # fmt: skip
    for row in rows:
        for failure in row["failures"]:
            place = f"{row['command']}, {row['call']} {row['at']} of {row['path']}, {row['fails']}"
            found.append(f"- {place}{', lasting' * row['lasts']}: {' '.join(failure.split())[:500]}")
    return compose(
        "Commands whose calls to the disk fail, one by one",
        "is there one line, the right exit code, and then the right outcome, whatever call fails?",
        seconds,
        f"{len(good)} of {len(rows)} calls were borne as they should be; "
        f"{sum(not row['reached'] for row in rows)} of them were not made a second time.",
        found,
        [
            "Reading does not fail, nor do removing, closing, and pages of memory that SQLite shares with its readers.",
            "Of many writes into one file, one after another, three fail.",
            "Each call fails in one of six ways; not every call in every way.",
            "TensorRT is a double; `optimize` trains in one process.",
        ],
    )


if __name__ == "__main__":
    main()
