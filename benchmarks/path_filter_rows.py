"""What does each part of DetOFA's path filter give? The rows of the paper's table 2, with Kendall's tau, and more.

    python benchmarks/path_filter_rows.py [--paths FOLDER/first-paths.json] [--seeds 3] [--report reports/FILE.md]

`--paths` is what DetOFA's algorithm keeps of validated paths; a fifth of each bucket's is the test, of which no
training sees anything. Without it a formula with noise stands for validation: 100 paths of each bucket to train on and
200, without noise, to test. Buckets are of the body's operations on a canvas of 512x512. A path is called weak where
its score is below the quarter of 1000 fresh paths of its bucket.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from export_vs_torchvision import CORES, describe_machine

from optimizer.arch.ofa_space import OfaSpace
from optimizer.path_filter.agreement import Agreement, measure_agreement
from optimizer.path_filter.buckets import Buckets
from optimizer.path_filter.filter import FilterConfig, PathFilter, Scorer
from optimizer.path_filter.pruned_space import PrunedSpace
from optimizer.path_filter.ranking import FitConfig, Validated, fit, split
from optimizer.path_filter.sampling import set_thresholds
from optimizer.path_filter.space import Floats, Genes

ALL, WHOLE = FilterConfig(), FitConfig()
ROWS: Mapping[str, tuple[FilterConfig, FitConfig]] = {
    "no bounded loss": (ALL, replace(WHOLE, bounded=False)),
    "no bucket condition": (replace(ALL, bucket_as="none"), WHOLE),
    "no block encoding": (replace(ALL, block_encoding=False), WHOLE),
    "all": (ALL, WHOLE),
    "all, the bucket as a token": (replace(ALL, bucket_as="token"), WHOLE),
    "all, standard encodings": (replace(ALL, encoding="standard"), WHOLE),
    "all, dropout 0.1": (replace(ALL, dropout=0.1), WHOLE),
}
NOISE = 0.5  # of the formula; its own standard deviation within a bucket is 3 to 5


def make_up_losses(space: OfaSpace, genes: Genes, noise: float, seed: int) -> Floats:
    """Work in some layers is worth more than in others, and the first and the last need each other."""
    tokens = space.tokens(genes)
    worth = np.random.default_rng(7).normal(size=(tokens.shape[1], 10)).cumsum(axis=1)
    gains = worth[np.arange(tokens.shape[1]), tokens].sum(axis=1) + 2.0 * (tokens[:, 0] > 4) * (tokens[:, -1] > 4)
    losses: Floats = -gains + noise * np.random.default_rng(seed).normal(size=len(genes))
    return losses


def load_paths(path: Path) -> Validated:
    content = json.loads(path.read_text())
    losses = [np.nan if loss is None else loss for loss in content["losses"]]
    return Validated(np.array(content["genes"][: len(losses)], dtype=np.int64), np.array(losses, dtype=np.float64))


def prepare(buckets: Buckets, paths: Validated | None, seed: int) -> tuple[Validated, Validated]:
    """Paths to train on, and paths to test with."""
    rng = np.random.default_rng(seed)
    if paths is not None:
        rows, out = split(buckets.find(paths.genes), 0.2, rng)
        return paths.select(rows), paths.select(out)
    assert isinstance(buckets.space, OfaSpace)
    fitted, tested = buckets.draw_each(100, rng), buckets.draw_each(200, rng)
    return (
        Validated(fitted, make_up_losses(buckets.space, fitted, NOISE, seed)),
        Validated(tested, make_up_losses(buckets.space, tested, 0.0, seed)),
    )


def measure_row(
    buckets: Buckets, config: FilterConfig, how: FitConfig, paths: tuple[Validated, Validated], seed: int
) -> Agreement:
    fitted, tested = paths
    score = Scorer(fit(PathFilter(buckets.space, config, seed), fitted, buckets, how, seed).filter, buckets)
    fresh = set_thresholds(PrunedSpace.whole(buckets), buckets, score, np.random.default_rng(seed))
    losses = np.nan_to_num(tested.losses, nan=np.inf)
    numbers = buckets.find(tested.genes)
    return measure_agreement(score(tested.genes), losses, numbers, thresholds=np.array(fresh.thresholds))


def list_lines(result: dict[str, Any], command: str, figures: str) -> Iterator[str]:
    machine = result["machine"]
    yield f"# Rows of the path filter ({result['date']})"
    yield ""
    yield f"What does each part of the filter give? Paths: {result['paths']}. Means of {result['seeds']} seeds."
    yield ""
    yield f"Hardware: {machine['cpu']}, {machine['threads']} threads."
    yield ""
    yield f"    {command}"
    yield ""
    yield "| filter | accuracy | precision | recall | Kendall's tau | least and most tau |"
    yield "|---|---|---|---|---|---|"
    for name, seeds in result["rows"].items():
        means = [float(np.nanmean([seed[key] for seed in seeds])) for key in ("accuracy", "precision", "recall", "tau")]
        taus = [seed["tau"] for seed in seeds]
        figures_of_row = " | ".join(f"{mean:.3f}" for mean in means)
        yield f"| {name} | {figures_of_row} | {min(taus):.3f} to {max(taus):.3f} |"
    yield ""
    yield f"All figures: [{figures}]({figures})."
    yield ""
    yield "## What this does not claim"
    yield ""
    yield "- That a filter's precision is the paper's: it does not say which paths it calls weak."
    if result["paths"] == "made up":
        yield "- Anything of a real super-network: the losses are a formula with noise."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paths", type=Path, help="validated paths of a run; made-up ones without it")
    parser.add_argument("--family", default="ofa_resnet50")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=CORES)
    parser.add_argument("--report", type=Path, help="Markdown file to write, with a JSON file beside it")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    buckets = Buckets.between_ends(OfaSpace(arguments.family, ((512, 512),)))
    paths = None if arguments.paths is None else load_paths(arguments.paths)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in ROWS}
    for seed in range(arguments.seeds):
        prepared = prepare(buckets, paths, seed)
        for name, (config, how) in ROWS.items():
            rows[name].append(asdict(measure_row(buckets, config, how, prepared, seed)))
            print(seed, name, rows[name][-1], flush=True)
    result = {
        "date": datetime.now(timezone.utc).date().isoformat(), "machine": describe_machine(arguments.threads),
        "paths": "made up" if paths is None else arguments.paths.name, "seeds": arguments.seeds, "rows": rows,
    }  # fmt: skip
    if arguments.report is not None:
        figures = arguments.report.with_suffix(".json")
        figures.write_text(json.dumps(result, indent=1) + "\n")
        command = f"python benchmarks/path_filter_rows.py --seeds {arguments.seeds}"
        command += "" if paths is None else f" --paths {arguments.paths.name}"
        arguments.report.write_text("\n".join(list_lines(result, command, figures.name)) + "\n")


if __name__ == "__main__":
    main()
