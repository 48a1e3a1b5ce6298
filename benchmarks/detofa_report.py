"""The report of `detofa_rows.py`, from the figures of its seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["COUPLED", "FILTERED", "PLAIN", "SHRUNK", "SPLITS", "list_lines"]

PLAIN, SHRUNK, COUPLED, FILTERED = "OFA, without shrinking", "OFA, progressive shrinking", "CompOFA*", "DetOFA"
SPLITS = 3  # of judged paths, for each seed


def list_lines(result: Mapping[str, Any], figures: str) -> Iterator[str]:
    """The report."""
    rows: Mapping[str, Sequence[Mapping[str, Any]]] = result["rows"]
    asked, machine = result["asked"], result["machine"]
    seeds_run = range(asked["first-seed"], asked["first-seed"] + asked["seeds"])
    given = " ".join(f"--{name} {value}" for name, value in asked.items())
    yield f"# Ways to train a once-for-all network for detection ({result['date']})"
    yield ""
    yield "What does each cost, and how good are the subnets? DetOFA's comparison at small scale: CenterNet on a"
    yield f"once-for-all ResNet of a quarter of the width, {result['images']} images, of which some are kept out, of"
    yield f"{asked['width']}x{asked['height']} pixels, {asked['epochs']} epochs (with progressive shrinking three times"
    yield f"as many), {asked['seeds']} seeds."
    yield ""
    yield f"Hardware: {machine['cpu']}; one thread per seed. Costs are seconds of CPU time."
    yield ""
    yield f"    python benchmarks/detofa_rows.py --data FOLDER --work FOLDER {given}"
    yield ""
    yield "| way | epochs | training, s | sampling, s | saved compared with progressive shrinking |"
    yield "|---|---|---|---|---|"
    for way, seeds in rows.items():
        training, sampling = mean_of(seeds, "training"), mean_of(seeds, "sampling")
        whole = [find_cost(seed) / find_cost(other) for seed, other in zip(seeds, rows[SHRUNK], strict=True)]
        saved = f"{1 - float(np.mean(whole)):.0%} ({', '.join(f'{1 - share:.0%}' for share in whole)})"
        yield f"| {way} | {seeds[0]['epochs']} | {training:.0f} | {sampling:.0f} | {saved} |"
    yield ""
    yield "The paper's, on Pascal VOC and COCO: DetOFA saves 30.4 % and 63.5 %, OFA without shrinking two thirds."
    yield ""
    count = len(rows[PLAIN][0]["budgets"])
    yield "AP of the best subnet within each budget, means of the seeds:"
    yield ""
    yield f"| way | {' | '.join(f'budget {number + 1}' for number in range(count))} | mean | mean of each seed |"
    yield f"|---|{'---|' * (count + 2)}"
    for way, seeds in rows.items():
        aps = np.array([[budget["ap"] for budget in seed["budgets"]] for seed in seeds])
        yield f"| {way} | {join(aps.mean(axis=0))} | {aps.mean():.3f} | {list_each(aps)} |"
    yield ""
    yield f"AP of the same {asked['common']} random paths of each bucket in every network, means:"
    yield ""
    yield f"| way | {' | '.join(f'bucket {number + 1}' for number in range(count))} | mean | mean of each seed |"
    yield f"|---|{'---|' * (count + 2)}"
    for way, seeds in rows.items():
        if seeds[0]["common"]:
            aps = np.array([seed["common"] for seed in seeds]).mean(axis=2)
            yield f"| {way} | {join(aps.mean(axis=0))} | {aps.mean():.3f} | {list_each(aps)} |"
    yield ""
    yield "The paper's signs: DetOFA costs at most half of progressive shrinking, no less AP than OFA without:"
    yield ""
    for number, ours, plain, shrunk in zip(seeds_run, rows[FILTERED], rows[PLAIN], rows[SHRUNK], strict=True):
        gain = mean_ap(ours) - mean_ap(plain)
        yield (
            f"- seed {number}: {find_cost(ours) / find_cost(shrunk):.2f} of the cost, {gain:+.4f} AP compared with OFA "
            f"without shrinking, {mean_ap(ours) - mean_ap(shrunk):+.4f} compared with progressive shrinking"
        )
    yield ""
    yield f"Rows of the path filter, on {asked['judged']} paths of each bucket of the network without shrinking,"
    yield f"a fifth of them held out, means of {SPLITS} splits of each seed. Weak is the worst quarter of a bucket:"
    yield ""
    yield "| filter | accuracy | precision | recall | Kendall's tau | least and most tau |"
    yield "|---|---|---|---|---|---|"
    for name in rows[PLAIN][0]["filter"]:
        found = [row for seed in rows[PLAIN] for row in seed["filter"][name]]
        means = [float(np.nanmean([row[key] for row in found])) for key in ("accuracy", "precision", "recall", "tau")]
        taus = [row["tau"] for row in found]
        yield f"| {name} | {' | '.join(f'{mean:.3f}' for mean in means)} | {min(taus):.3f} to {max(taus):.3f} |"
    yield ""
    if figures:
        yield f"All figures: [{figures}]({figures})."
        yield ""
    yield "## What this does not claim"
    yield ""
    yield "- Anything of Pascal VOC, COCO or the whole ResNet-50: networks, images and epochs are far fewer."
    yield "- That the search is the paper's: networks but DetOFA's are searched by random paths, not by a predictor."
    yield "- AP on images that nobody chose by: subnets are chosen on images kept out of training, AP is on others."
    resumed = [
        f"{way}, seed {number}"
        for way, seeds in rows.items()
        for number, seed in zip(seeds_run, seeds, strict=True)
        if seed["starts"] > 1
    ]
    if resumed:
        yield f"- Exact costs of what was stopped and went on ({'; '.join(resumed)}): what was done again counts twice."


def find_cost(row: Mapping[str, Any]) -> float:
    """Seconds until a network is trained."""
    return float(row["seconds"]["training"] + row["seconds"].get("sampling", 0.0))


def mean_of(seeds: Sequence[Mapping[str, Any]], what: str) -> float:
    return float(np.mean([seed["seconds"].get(what, 0.0) for seed in seeds]))


def mean_ap(row: Mapping[str, Any]) -> float:
    return float(np.mean([budget["ap"] for budget in row["budgets"]]))


def list_each(aps: Any) -> str:
    """The mean of each seed."""
    return ", ".join(f"{ap:.3f}" for ap in aps.mean(axis=1))


def join(aps: Any) -> str:
    return " | ".join(f"{ap:.3f}" for ap in aps)
