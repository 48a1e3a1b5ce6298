"""How many paths a second does DetOFA's path filter score, and how long do its other jobs take?

    python benchmarks/path_filter_speed.py [--threads 2] [--report reports/FILE.md]

The paper's filter over OFA-ResNet50, with random weights: its work does not depend on them. Wanted: 20,000 paths a
second on two cores. Scoring a path takes more than 5 M multiply-accumulates, so that would be more than 0.2 TFLOP/s;
the report says how many there were. The machine has to be quiet.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from export_vs_torchvision import CORES, describe_machine

from optimizer.arch.ofa_space import OfaSpace
from optimizer.path_filter import filter as filter_module
from optimizer.path_filter.buckets import Buckets
from optimizer.path_filter.evolution import Breeding, evolve
from optimizer.path_filter.filter import FilterConfig, PathFilter, Scorer
from optimizer.path_filter.pruning import PruningConfig, prune
from optimizer.path_filter.ranking import FitConfig, Validated, fit
from optimizer.path_filter.sampling import PathStream, set_thresholds

WANTED = 20_000  # paths a second
ROUNDS = 7
BATCHES = (64, 128, 256, 512, 1024, 4096)


def count_macs(config: FilterConfig, layers: int) -> int:
    """Multiply-accumulates of the score of one path; embeddings are looked up."""
    width = config.width
    attention = 4 * width * width + 2 * layers * width
    return layers * config.layers * (attention + 2 * width * width) + width * width + width


def measure_scoring(score: Scorer, paths: int) -> dict[str, Any]:
    """Paths a second for each size of a batch, in turns."""
    rng = np.random.default_rng(0)
    genes = np.concatenate([score.buckets.draw_each(64, rng)] * -(-paths // 320))[:paths]
    tokens, numbers = score.buckets.space.tokens(genes), score.buckets.find(genes)
    found: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    own = filter_module.SCORED_AT_ONCE
    try:
        for number in range(ROUNDS + 1):
            for batch, rates in found.items():
                filter_module.SCORED_AT_ONCE = batch
                began = time.perf_counter()
                score.filter.score(tokens, numbers)
                if number:  # the first round warms up
                    rates.append(paths / (time.perf_counter() - began))
    finally:
        filter_module.SCORED_AT_ONCE = own
    return {
        str(batch): {"median": median(rates), "least": min(rates), "most": max(rates)} for batch, rates in found.items()
    }


def measure_jobs(score: Scorer) -> dict[str, float]:
    """Seconds that the rest of the method takes, with the paper's numbers, once each."""
    buckets, rng = score.buckets, np.random.default_rng(0)
    seconds: dict[str, float] = {}

    def clock(name: str, job: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = job()
        seconds[name] = time.perf_counter() - began
        return result

    genes = clock("draw 100 paths of each bucket", lambda: buckets.draw_each(100, rng))
    losses = np.random.default_rng(1).normal(size=len(genes))
    one_epoch = FitConfig(epochs=1)
    clock(
        "an epoch of training on 400 of them",
        lambda: fit(score.filter, Validated(genes, losses), buckets, one_epoch, 0),
    )
    pruned = clock("score operations and prune", lambda: prune(buckets, score, PruningConfig(), rng))
    pruned = clock("thresholds of 1000 paths a bucket", lambda: set_thresholds(pruned, buckets, score, rng))
    stream = PathStream(pruned, buckets, score, seed=0)
    clock("the paths of 1000 training steps", lambda: [stream.at(step) for step in range(1000)])
    limits = [0.999 * edge for edge in buckets.edges[1:]]  # near the upper end of each bucket
    clock(
        "50 generations for five limits", lambda: evolve(buckets, score, limits, rng, Breeding(generations=50), pruned)
    )
    return seconds


def list_lines(result: dict[str, Any], command: str, figures: str) -> Iterator[str]:
    machine, best = result["machine"], result["best"]
    yield f"# Speed of the path filter ({result['date']})"
    yield ""
    yield "Question: how many paths a second does DetOFA's path filter score, and how long do its other jobs take?"
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| hardware | {machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads |"
    yield f"| versions | {', '.join(f'{name} {version}' for name, version in machine['versions'].items())} |"
    yield "| filter | the paper's: 128 features, 3 layers of 4 heads, over the 18 layers of OFA-ResNet50 |"
    yield f"| work | {result['macs'] / 1e6:.2f} M multiply-accumulates per path |"
    yield ""
    yield f"    {command}"
    yield ""
    yield f"| paths in a batch | paths a second, median of {ROUNDS} | least | most |"
    yield "|---|---|---|---|"
    for batch, rates in result["scoring"].items():
        yield f"| {batch} | {rates['median']:,.0f} | {rates['least']:,.0f} | {rates['most']:,.0f} |"
    yield ""
    speed = 2 * best * result["macs"] / 1e9
    yield f"Wanted: {WANTED:,} a second. Best median: {best:,.0f}, {best / WANTED:.2f} of it: {speed:.0f} GFLOP/s."
    yield ""
    yield "| job | seconds |"
    yield "|---|---|"
    for name, taken in result["jobs"].items():
        yield f"| {name} | {taken:.1f} |"
    yield ""
    yield f"All figures: [{figures}]({figures})."
    yield ""
    yield "## What this does not claim"
    yield ""
    yield "- Nothing about how well the filter ranks, nor about a GPU."
    yield "- The jobs were timed once each."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=CORES)
    parser.add_argument("--paths", type=int, default=8192, help="scored per measurement")
    parser.add_argument("--report", type=Path, help="Markdown file to write, with a JSON file beside it")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    space = OfaSpace("ofa_resnet50", ((512, 512),))
    score = Scorer(PathFilter(space), Buckets.between_ends(space))
    scoring = measure_scoring(score, arguments.paths)
    result = {
        "date": datetime.now(timezone.utc).date().isoformat(), "machine": describe_machine(arguments.threads),
        "macs": count_macs(score.filter.config, len(space.layers)), "scoring": scoring,
        "best": max(rates["median"] for rates in scoring.values()), "jobs": measure_jobs(score),
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if arguments.report is not None:
        figures = arguments.report.with_suffix(".json")
        figures.write_text(json.dumps(result, indent=1) + "\n")
        command = f"python benchmarks/path_filter_speed.py --threads {arguments.threads} --paths {arguments.paths}"
        arguments.report.write_text("\n".join(list_lines(result, command, figures.name)) + "\n")


if __name__ == "__main__":
    main()
