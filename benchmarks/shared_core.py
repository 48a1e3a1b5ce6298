"""How much longer does a run take while another process takes one of the cores? Wanted: at most 1.6 times on two cores.

    python benchmarks/shared_core.py --json /tmp/shared_core.json

The run is `make demo`'s; `--preset smoke` is a quicker look. It is made alone and beside a process that does nothing
but keep a core busy, in turns, for each way in which idle threads of OpenMP may wait: "as shipped" is what `optimize`
asks for by itself. The file has the seconds of each run, where they went, and the ratios. Nothing else may run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from optimizer.search.base import list_done
from optimizer.store.run_store import RunStore

WANTED = 1.6
WAITING: Mapping[str, Mapping[str, str]] = {
    "as shipped": {},
    "spin briefly": {"GOMP_SPINCOUNT": "10000"},
    "OpenMP's default": {"GOMP_SPINCOUNT": "300000"},  # libgomp's where no policy is asked for; it overrides ours
}
SPIN = "while True: pass"


def main() -> None:
    arguments = parse_arguments()
    rows: list[dict[str, object]] = []
    ratios = {}
    for waiting in arguments.waiting:
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for repeat in range(arguments.repeats):
            for shared in (False, True):
                with beside_another(arguments.nice) if shared else alone():
                    took, parts = run_once(WAITING[waiting], arguments.rest)
                seconds[shared].append(took)
                rows.append({"waiting": waiting, "shared": shared, "repeat": repeat, "seconds": took, "parts": parts})
                print(f"{waiting}, {'one core taken' if shared else 'alone'}: {took:.0f} s", flush=True)
        ratios[waiting] = statistics.median(seconds[True]) / statistics.median(seconds[False])
        print(f"{waiting}: {ratios[waiting]:.2f} times as long with one core taken", flush=True)
        if arguments.json is not None:
            found = {"cores": os.cpu_count(), "nice": arguments.nice, "options": arguments.rest}
            arguments.json.write_text(json.dumps({**found, "ratios": ratios, "runs": rows}, indent=1))
    sys.exit(ratios["as shipped"] > WANTED if "as shipped" in ratios else 0)


def run_once(environment: Mapping[str, str], options: list[str]) -> tuple[float, dict[str, float]]:
    """Seconds of one run, and how many of them each part of its trials took."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "optimizer", "--base", "r18", "--target", "cpu", *options, "--out", str(run)]
        started = time.monotonic()
        subprocess.run(command, env={**own, **environment}, check=True, stdout=subprocess.DEVNULL)
        took = time.monotonic() - started
        parts: dict[str, float] = {}
        with RunStore.open(run, writable=False) as store:
            for trial in list_done(store.history()):
                for name, seconds in trial.work.seconds_by_part.items():
                    parts[name] = parts.get(name, 0.0) + seconds
    return took, parts


@contextmanager
def beside_another(nice: int) -> Iterator[None]:
    """A process of that priority that keeps one core busy."""
    with subprocess.Popen([sys.executable, "-c", f"import os; os.nice({nice})\n{SPIN}"]) as other:
        try:
            yield
        finally:
            other.kill()


@contextmanager
def alone() -> Iterator[None]:
    """Nothing else."""
    yield


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiting", nargs="+", choices=list(WAITING), default=["as shipped"], help="ways to compare")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each")
    parser.add_argument("--nice", type=int, default=0, help="niceness of the other process")
    parser.add_argument("--json", type=Path, help="where to write what was found")
    arguments, rest = parser.parse_known_args()
    arguments.rest = rest
    return arguments


if __name__ == "__main__":
    main()
