"""Every question that this project asks of itself beside its peers, one script after the other: `make bench`.

    python benchmarks/bench.py short|long [--out runs/bench-DATE] [--only NAME,...] [--list]

Each script prints its table and leaves its JSON in the folder; at the end one table has every figure with what was
wanted of it. `short` takes less than 20 minutes on two idle cores, `long` hours. What needs a trained detector gets one
that is trained here, on generated images, or `--run` with `--data`. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from history import read_outcomes, write_page
from side_by_side import list_outcomes

HERE = Path(__file__).parent
BASE = "--base r18 --target cpu --trials 0 --seed 0 --score macs --precisions fp32 --export-proposals none"


@dataclass(frozen=True)
class Job:
    """One script in one of the two lists.

    Attributes:
        arguments: `{json}` is the file of the result, `{run}`, `{data}` and `{bundle}` those of a trained base.
        needs: a package without which it is left out, and said to be.
    """

    script: str
    arguments: str
    limit_s: int
    needs: str = ""

    @property
    def name(self) -> str:
        return self.script.replace("_", "-")

    @property
    def takes_base(self) -> bool:
        return "{run}" in self.arguments or "{bundle}" in self.arguments


TRAINED = "--run {run} --data {data}"
SHORT = (
    Job("exports_compared", "--sizes 320x240 --no-compile --rounds 10 --seconds 25 --json {json}", 300),
    Job("file_to_boxes", "--rounds 12 --json {json} {yolox}", 180),
    Job("int8_vs_others", "--bundle {bundle} --data {data} --rounds 20 --json {json}", 180),
    Job("pruning_vs_others", f"{TRAINED} --shares 0.5 --epochs 1 --rounds 12 --json {{json}}", 300, "torch_pruning"),
    Job("paper_ratios", "--bases r18 --rounds 6 --json {json}", 120),
    Job("reference_loop", "--size 160x120 --rounds 6 --json {json}", 180),
)
LONG = (
    Job("exports_compared", "--json {json}", 7200),
    Job("file_to_boxes", "--json {json} {yolox}", 900),
    Job("int8_vs_others", "--bundle {bundle} --data {data} --json {json}", 900),
    Job("pruning_vs_others", f"{TRAINED} --epochs 4 --json {{json}}", 3600, "torch_pruning"),
    Job("paper_ratios", "--json {json}", 1800),
    Job("reference_loop", "--size 320x240 --json {json}", 1800),
    Job("aa_test", "--tries 10 --state {json}", 1800),
    Job("installation", "--json {json}", 3600),
)
LISTS = {"short": (SHORT, "--epochs 4"), "long": (LONG, "--epochs auto --budget 40m")}


def train_base(out: Path, options: str) -> tuple[Path, Path]:
    """A run whose base is trained on generated images, and the folder of these."""
    run = out / "base"
    if not (run / "bundles" / "base").is_dir():
        command = [sys.executable, "-m", "optimizer", *BASE.split(), *options.split(), "--out", str(run)]
        subprocess.run(command, check=True, timeout=3600)
    return run, run / "data"


def run_job(job: Job, out: Path, values: dict[str, str]) -> dict[str, Any]:
    """How it ended; its output goes to the terminal and to a file of its name."""
    if job.needs and importlib.util.find_spec(job.needs) is None:
        return {"left_out": f"{job.needs} is not installed: pip install 'detopt[bench]'"}
    result = out / f"{job.name}.json"
    words = job.arguments.format(json=result, **values).split()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    started = time.monotonic()
    print(f"\n## {job.name}\n", flush=True)
    with (out / f"{job.name}.txt").open("w") as copy:
        command = [sys.executable, "-u", str(HERE / f"{job.script}.py"), *words]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
        )
        assert process.stdout is not None
        limit = threading.Timer(job.limit_s, process.kill)
        limit.start()
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
                copy.write(line)
            code = process.wait()
        finally:
            limit.cancel()
            process.kill()
    taken = round(time.monotonic() - started, 1)
    if code != 0:
        return {"failed": f"exit code {code} after {taken:.0f} s (limit {job.limit_s} s)"}
    return {"seconds": taken, "outcomes": read_outcomes(result)}


def describe(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    outcomes = [outcome for result in results.values() for outcome in result.get("outcomes", [])]
    yield from list_outcomes(outcomes)
    yield ""
    for name, result in results.items():
        said = result.get("left_out") or result.get("failed") or f"{result['seconds']:.0f} s"
        yield f"- {name}: {said}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=LISTS)
    parser.add_argument("--out", type=Path, help="folder of the results (default: runs/bench-<time>)")
    parser.add_argument("--only", type=lambda text: text.split(","), help="names of scripts, as --list has them")
    parser.add_argument("--list", action="store_true", help="say what would be run, and end")
    parser.add_argument("--run", type=Path, help="whose trained base is used instead of training one")
    parser.add_argument("--data", type=Path, help="the images of that run")
    parser.add_argument("--yolox", type=Path, help="yolox_nano_416.onnx, for file_to_boxes")
    arguments = parser.parse_args()
    jobs, options = LISTS[arguments.which]
    if arguments.only and not {job.name for job in jobs} >= set(arguments.only):
        parser.error(f"there are: {', '.join(job.name for job in jobs)}")
    jobs = [job for job in jobs if not arguments.only or job.name in arguments.only]
    if arguments.list:
        print("\n".join(f"{job.name}: {job.arguments} (at most {job.limit_s} s)" for job in jobs))
        return
    out = arguments.out or Path("runs") / f"bench-{datetime.now():%Y%m%d-%H%M%S}"
    out.mkdir(parents=True, exist_ok=True)
    values = {"run": "", "data": "", "bundle": "", "yolox": f"--yolox {arguments.yolox}" if arguments.yolox else ""}
    if any(job.takes_base for job in jobs):
        run, data = (arguments.run, arguments.data) if arguments.run else train_base(out, options)
        values |= {"run": str(run), "data": str(data), "bundle": str(run / "bundles" / "base")}
    results = {job.name: run_job(job, out, values) for job in jobs}
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    whole = {"date": now, "which": arguments.which, "results": results}
    (out / "bench.json").write_text(json.dumps(whole, indent=1) + "\n")
    page = write_page(out / "history.html", [HERE / "reports", out])
    print("\n" + "\n".join(describe(results)) + f"\n\n{out / 'bench.json'}, {page}")
    sys.exit(1 if any("failed" in result for result in results.values()) else 0)


if __name__ == "__main__":
    main()
