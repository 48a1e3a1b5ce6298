"""Do more workers do more? A search on Ray whose trainings sleep, with 1 to 16 of them at once.

    python benchmarks/ray_scaling.py [--seconds 40] [--rounds 3] [--workers 1,2,4,8,16] [--lease 1] [--each 0.1]

All of a run by workers is there but torch (`tests/parts/ray_formula.py`): the strategy, the database, orders and
answers by Ray, the queue of what waits to be measured. Measuring sleeps too: so many seconds for a lease and for each
student in it. Ideal is one student of every worker in the seconds of a training; the time counts from the first order
to the last trial on record, so that the last measuring is in it. Wanted: at least 0.9 of ideal with 1 to 16 workers.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

WORKERS = [1, 2, 4, 8, 16]
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "parts")]

from ray_formula import Formula, sleep_as_training, start_or_resume  # noqa: E402

from optimizer.workers.pool import Pool, Share, open_ray  # noqa: E402


def measure(ray: Any, workers: int, seconds: float, rounds: int, judge: Formula) -> dict[str, Any]:
    """One search, once each worker's process is there and has imported what it needs."""
    share = Share(workers, 1.0, 0.0)
    trials = rounds * workers
    with tempfile.TemporaryDirectory() as folder:
        warm = Pool(ray, share, sleep_as_training(2.0))
        start_or_resume(Path(folder) / "warm", 2 * workers, warm, workers, Formula())
        place = Path(folder) / "timed"
        pool = Pool(ray, share, sleep_as_training(seconds))
        start_or_resume(place, 0, pool, workers, Formula())  # the base
        started = time.monotonic()
        waits = start_or_resume(place, trials, pool, workers, judge)
        took = time.monotonic() - started
    return {
        "workers": workers, "trials": trials, "seconds": took, "of_ideal": rounds * seconds / took,
        "mean_wait_s": fmean(waits), "longest_wait_s": max(waits),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40.0, help="of a training")
    parser.add_argument("--rounds", type=int, default=3, help="trainings of each worker")
    parser.add_argument(
        "--workers", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2, 4, 8, 16]
    )
    parser.add_argument("--lease", type=float, default=1.0, help="seconds that a lease takes")
    parser.add_argument("--each", type=float, default=0.1, help="seconds for each student in it")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    import ray

    ray.init(
        "local",
        num_cpus=max(arguments.workers),
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=200 << 20,
    )
    rows = []
    print("workers  trials  seconds  of ideal  waited to be measured: mean, longest")
    for workers in arguments.workers:
        judge = Formula(arguments.lease, arguments.each)
        row = measure(open_ray("ray"), workers, arguments.seconds, arguments.rounds, judge)
        rows.append(row)
        print(
            f"{workers:>7} {row['trials']:>7} {row['seconds']:>8.1f} {row['of_ideal']:>9.2f}  "
            f"{row['mean_wait_s']:.2f} s, {row['longest_wait_s']:.2f} s",
            flush=True,
        )
        if arguments.json:
            arguments.json.write_text(
                json.dumps({"seconds_of_a_training": arguments.seconds, "rows": rows}, indent=1) + "\n"
            )


if __name__ == "__main__":
    main()
