"""How readers take damaged files: so many mutated copies of each kind, each read within a second or refused.

    python benchmarks/fuzz_readers.py --inputs 100000 --out benchmarks/reports/fuzz_readers.json

Label files of every layout, and whatever else comes from others: manifests, target and hosts files, all that a board
answers, plans, ranges of calibration, pictures, runs, pools, weights. An input counts as failed if it raises anything
but an error of one line that we raise on purpose, takes longer than a second or more than 300 MiB, or changes a file
outside its folder, or leads to one. A failure is written down with its seed, which makes it again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "parts"))

from forms import FORMS as DESCRIPTIONS  # noqa: E402
from forms import try_form  # noqa: E402
from mutations import SEEDS, assert_read_or_refused, mutate, plant  # noqa: E402
from run_forms import FORMS as OF_RUNS  # noqa: E402

FORMS = {**DESCRIPTIONS, **OF_RUNS}
KINDS = (*SEEDS, *FORMS)

LIMIT_S = 1.0
LIMIT_BYTES = 300 << 20
SHARE = 500  # inputs that a process takes at once


class TooSlowError(Exception):
    """An input took longer than the limit."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1000, help="in all, shared evenly by the kinds")
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=KINDS, help=f"of {', '.join(KINDS)}")
    parser.add_argument("--seed", type=int, default=0, help="of the first input")
    parser.add_argument("--out", type=Path, help="write the counts as JSON")
    options = parser.parse_args()
    each = -(-options.inputs // len(options.kinds))
    shares = [
        (kind, options.seed + start, min(SHARE, each - start))
        for kind in options.kinds
        for start in range(0, each, SHARE)
    ]
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in options.kinds}
    failures: list[dict[str, object]] = []
    slowest_s = 0.0
    started = time.perf_counter()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for number, (kind, found, failed, slow_s) in enumerate(pool.map(try_share, shares)):
            counts[kind] += found
            failures += failed
            slowest_s = max(slowest_s, slow_s)
            said = f"{number + 1} of {len(shares)} shares, {len(failures)} failures"
            print(f"\r{said}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    report = {
        "inputs": sum(sum(count.values()) for count in counts.values()),
        "failures": failures,
        "slowest_s": round(slowest_s, 3),
        "seconds": round(time.perf_counter() - started, 1),
        "by_kind": {kind: dict(count) for kind, count in counts.items()},
    }
    print(json.dumps({**report, "failures": len(failures)}, indent=2))
    for failure in failures[:20]:
        print(failure)
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")
    sys.exit(bool(failures))


def try_share(share: tuple[str, int, int]) -> tuple[str, Counter[str], list[dict[str, object]], float]:
    """Counts of inputs that were read and refused, the failures, and the longest time of one."""
    kind, first, count = share
    counts: Counter[str] = Counter()
    failures: list[dict[str, object]] = []
    slowest_s = 0.0
    signal.signal(signal.SIGALRM, _stop)
    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    outside = place / "outside"
    outside.write_text("not to be touched")
    if kind in FORMS:  # what is imported and compiled once is no input's time
        with contextlib.suppress(Exception):
            try_form(place / "valid", FORMS[kind], lambda content: content)
        shutil.rmtree(place / "valid")
    for seed in range(first, first + count):
        folder = place / str(seed)
        folder.mkdir()
        rng = random.Random(f"{kind} {seed}")

        def damage(content: bytes, rng: random.Random = rng) -> bytes:
            return mutate(content, rng)

        if kind in SEEDS:
            plant(folder, kind, damage)
        resource.setrlimit(resource.RLIMIT_AS, (_find_address_space() + LIMIT_BYTES, resource.RLIM_INFINITY))
        began = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
        try:
            is_read = assert_read_or_refused(folder) if kind in SEEDS else try_form(folder, FORMS[kind], damage)
            assert sorted(path.name for path in place.iterdir()) == sorted((str(seed), outside.name)), "a file outside"
            assert outside.read_text() == "not to be touched"
            counts["read" if is_read else "refused"] += 1
        except BaseException as error:
            counts["failed"] += 1
            failures.append({"kind": kind, "seed": seed, "error": f"{type(error).__name__}: {error}"[:300]})
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        slowest_s = max(slowest_s, time.perf_counter() - began)
        shutil.rmtree(folder)
    shutil.rmtree(place)
    return kind, counts, failures, slowest_s


def _find_address_space() -> int:
    """Bytes of this process's."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _stop(number: int, frame: object) -> None:
    raise TooSlowError(f"longer than {LIMIT_S:g} s")


if __name__ == "__main__":
    main()
