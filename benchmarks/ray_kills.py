"""A smoke search on a Ray cluster of two nodes whose processes, nodes and head are killed: is anything lost?

    python benchmarks/ray_kills.py --work /tmp/kills [--students 8] [--kinds nothing,process,node,head] [--seed 0]

Runs `optimize --base r18 --preset smoke --teacher none` on the generated shapes, two trainings at a time, on a cluster
of this machine of a head that does no work and two nodes with a core each: once undisturbed, and once for each kind of
kill, at three random moments (`tests/parts/ray_kills.py`). A search whose head was killed is gone on with by `optimize
resume` on a new cluster. Wanted: exit status 0, all trials that were on record at a kill as they were, as many students
as without kills, all of them done and with their files, and bundles that open.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "parts")]

from ray_cluster import ray_settings  # noqa: E402
from ray_kills import KINDS, Killing, find_faults, read_recorded  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--students", type=int, default=8)
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=list(KINDS))
    parser.add_argument("--spread", type=float, default=8.0, help="most seconds between a trial and a kill")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ |= ray_settings(ROOT)
    rows = []
    for kind in arguments.kinds:
        rows.append(search(kind, arguments.work / kind, arguments.students, arguments.spread, arguments.seed))
        print(json.dumps(rows[-1]), flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    sys.exit(any(row["faults"] for row in rows))


def search(kind: str, folder: Path, students: int, spread_s: float, seed: int) -> dict[str, object]:
    """One search in a new folder, and what became of it."""
    folder.mkdir(parents=True)
    run, optimize = folder / "run", [sys.executable, "-m", "optimizer"]
    options = ["--base", "r18", "--preset", "smoke", "--teacher", "none", "--trials", str(students)]
    options += ["--workers-on", "ray", "--at-once", "2"]
    moments = [1, 1 + students // 3, 1 + 2 * students // 3]  # the base is one of them
    killing = Killing(
        [*optimize, *options, "--out", str(run)], [*optimize, "resume", str(run)], run, folder / "said.txt", moments,
        spread_s, Random(f"{seed} {kind}"),
    )  # fmt: skip
    outcome = killing.search(kind)
    front = json.loads((run / "front.json").read_text())
    return {
        "killed": kind,
        "on_record_at_each_kill": [len(known) for known in outcome.recorded],
        "search_ended_with": list(outcome.ended),
        "seconds": round(outcome.seconds, 1),
        "trials": len(read_recorded(run)),
        "students_of_the_front": len(front["students"]),
        "faults": find_faults(run, outcome.recorded, students),
    }


if __name__ == "__main__":
    main()
