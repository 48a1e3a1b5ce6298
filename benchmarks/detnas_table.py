"""The report of `detnas_rows.py`: its rows beside those of the paper's table 4."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from statistics import fmean, median, stdev
from typing import Any

import numpy as np

from optimizer.path_filter.agreement import compute_kendall_tau

PRETRAINED, SCRATCH, CLASSES = "DetNAS-P", "DetNAS-S", "ClsNASNet"  # what paths are judged by, as the paper says it
SCRATCH_TOO, LONGER = f"{SCRATCH}, from scratch", f"{SCRATCH}, twice the epochs"
PAPER = {  # AP of FPN and RetinaNet on VOC and COCO; of random paths with their spread
    "plain": ("80.6", "34.8", "79.4", "32.1"),
    CLASSES: ("78.5", "35.1", "76.5", "31.2"),
    "random": ("80.9 ± 0.2", "35.9 ± 0.3", "79.0 ± 0.7", "32.5 ± 0.4"),
    SCRATCH: ("", "", "", ""),
    LONGER: ("", "", "", ""),
    SCRATCH_TOO: ("81.1", "35.9", "79.9", "32.8"),
    PRETRAINED: ("81.5", "36.4", "80.1", "33.3"),
}
WORDS = {
    "plain": "all blocks 3x3 (ShuffleNetV2-20)",
    CLASSES: "ClsNASNet: searched by the share of crops given their class",
    "random": "random paths, mean ± standard deviation",
    SCRATCH: "DetNAS-S: searched in the super-network from scratch, trained as the others",
    LONGER: "DetNAS-S, trained from the same weights in twice the epochs",
    SCRATCH_TOO: "DetNAS-S, trained from scratch as well, in twice the epochs",
    PRETRAINED: "DetNAS-P: searched in the pre-trained super-network",
}
FITNESS = {
    PRETRAINED: "AP in the pre-trained super-network",
    SCRATCH: "AP in the super-network from scratch",
    CLASSES: "share of crops given their class",
}
CHOSEN_BLINDLY = ("plain", "random", "more random")
SIGNS = (  # the paper's: the first one's AP is the higher
    (PRETRAINED, "plain"), (PRETRAINED, "random"), (PRETRAINED, SCRATCH_TOO), (PRETRAINED, CLASSES),
    (SCRATCH_TOO, CLASSES), ("random", "plain"), ("random", CLASSES),
)  # fmt: skip
MOST_JUDGING = 1.5
Seed = Mapping[str, Any]


def list_lines(result: Mapping[str, Any], figures: str) -> Iterator[str]:
    seeds: Sequence[Seed] = result["seeds"]
    asked, machine = seeds[0]["asked"], seeds[0]["machine"]
    given = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in asked.items() if name != "data")
    names = ", ".join(str(seed["seed"]) for seed in seeds)
    yield f"# DetNAS' table 4 at small scale: {asked['data']} ({result['date']})"
    yield ""
    yield "What do pre-training and search on the detection super-network give? Paths of the space"
    yield f"{asked['space']} ({spell_depths(seeds[0]['depths'])}), under a narrow Faster R-CNN on a canvas"
    yield f"of {asked['size']}; {asked['images']} images to train on, of which"
    yield f"{seeds[0]['kept']} are kept out of super-networks to judge paths by; AP on {asked['val']} other images."
    yield f"Pre-training {asked['pretrain_epochs']} epochs of crops, super-network {asked['epochs']} epochs of images,"
    yield f"each path {asked['retrain_epochs']} epochs from the weights of the pre-trained super-network; from scratch"
    yield f"twice as many of images. Limits: {asked['limits']} M operations of the body at 224x224."
    if asked["space"] == "half":
        yield "The space has half of ShuffleNetV2-20's places, and half its width."
    yield f"Seeds that are finished: {names}."
    yield ""
    loads = ", ".join(f"{seed['machine']['load_average'][2]:.1f}" for seed in seeds)
    yield f"Hardware: {machine['cpu']}; one thread per seed, beside other work (load average of 15 minutes at the end:"
    yield f"{loads}). Costs are seconds of CPU time."
    yield ""
    yield f"    python benchmarks/detnas_rows.py run --work FOLDER {given}"
    yield "    python benchmarks/detnas_rows.py report --work FOLDER --report FILE"
    yield ""
    yield from list_rows(seeds)
    yield from list_signs(seeds)
    yield from list_searches(seeds)
    yield from list_correlation(seeds)
    yield from list_costs(seeds)
    if figures:
        yield f"All figures: [{figures}]({figures})."
        yield ""
    yield "## What this does not claim"
    yield ""
    yield "- Anything of Pascal VOC, COCO or ImageNet: space, canvas, images, epochs, neck and head are far smaller,"
    yield "  the crops are few, and evolution looks at tens of paths, not at 1000."
    yield "- A difference of rows that is less than what chance makes of one path, or that the seeds do not repeat."
    yield "- That a path is trained as the paper does it: there each is pre-trained on its own, here it starts from the"
    yield "  weights of the pre-trained super-network, as a run does."
    yield "- AP on images that somebody chose by: paths are chosen on images that are kept out, AP is on others."
    resumed = [str(seed["seed"]) for seed in seeds if seed["starts"] > 1]
    if resumed:
        yield f"- Exact costs of seeds that were stopped and went on ({', '.join(resumed)}): some work counts twice."


def list_rows(seeds: Sequence[Seed]) -> Iterator[str]:
    yield "AP of trained paths in percent, and the paper's on its images:"
    yield ""
    yield f"| row | {name_seeds(seeds)} | mean | paper: FPN VOC | FPN COCO | RetinaNet VOC | RetinaNet COCO |"
    yield f"|---|{'---|' * (len(seeds) + 5)}"
    for row, words in WORDS.items():
        cells = [spell([100 * ap for ap in find_aps(seed, row)], row == "random") for seed in seeds]
        mean = fmean(mean_ap(seed, row) for seed in seeds)
        yield f"| {words} | {' | '.join(cells)} | {100 * mean:.1f} | {' | '.join(PAPER[row])} |"
    yield ""
    repeated = [stdev(aps) for seed in seeds if len(aps := find_aps(seed, "plain")) > 1]
    if repeated:
        spread = ", ".join(f"{100 * value:.1f}" for value in repeated)
        yield f"The plain path was trained {seeds[0]['asked']['repeats']} times; what chance makes of it, as a standard"
        yield f"deviation of each seed: {spread}."
        yield ""


def list_signs(seeds: Sequence[Seed]) -> Iterator[str]:
    yield "Which row is better in the paper, and by how much it is here; what is below zero contradicts the paper:"
    yield ""
    yield f"| better in the paper | than | {' | '.join(str(seed['seed']) for seed in seeds)} | mean |"
    yield f"|---|---|{'---|' * (len(seeds) + 1)}"
    for better, other in SIGNS:
        gains = [100 * (mean_ap(seed, better) - mean_ap(seed, other)) for seed in seeds]
        yield f"| {better} | {other} | {' | '.join(f'{gain:+.1f}' for gain in gains)} | {fmean(gains):+.1f} |"
    yield ""


def list_searches(seeds: Sequence[Seed]) -> Iterator[str]:
    yield "What evolution found, by what it judges by: the first generation is random."
    yield ""
    yield "| seed | judged by | paths | first generation, least and most | best of all | found: path, M operations |"
    yield "|---|---|---|---|---|---|"
    for seed in seeds:
        operations = {row["path"]: row["macs"] for row in seed["rows"]}
        for name, search in seed["searches"].items():
            values = [entry["fitness"] for entry in search["looked"]]
            first = values[: seed["asked"]["population"]]
            found = "; ".join(
                f"{split(path, seed['depths'])}, {operations[path] / 1e6:.0f}" for path in search["found"].values()
            )
            yield (
                f"| {seed['seed']} | {FITNESS[name]} | {len(values)} | {min(first):.3f} to {max(first):.3f} | "
                f"{max(values):.3f} | {found} |"
            )
    yield ""


def list_correlation(seeds: Sequence[Seed]) -> Iterator[str]:
    yield "Rank correlation (Kendall's tau) of what paths are judged by with their AP after training. Searched paths"
    yield "are chosen by what is correlated here; the others (the plain one and random ones) are not."
    yield ""
    yield f"| judged by | paths | {name_seeds(seeds)} | mean |"
    yield f"|---|---|{'---|' * (len(seeds) + 1)}"
    for name, words in FITNESS.items():
        for blind, which in ((False, "all"), (True, "not searched")):
            pairs = [list_pairs(seed, name, blind) for seed in seeds]
            taus = [compute_kendall_tau(*np.array(found).T) for found in pairs]
            cells = [f"{tau:.2f} ({len(found)})" for tau, found in zip(taus, pairs, strict=True)]
            yield f"| {words} | {which} | {' | '.join(cells)} | {fmean(taus):.2f} |"
    yield ""
    yield "In brackets: how many paths."
    yield ""


def list_costs(seeds: Sequence[Seed]) -> Iterator[str]:
    yield "| what | seconds of each seed | mean |"
    yield "|---|---|---|"
    for phase in dict.fromkeys(phase for seed in seeds for phase in seed["seconds"]):
        seconds = [seed["seconds"].get(phase, 0.0) for seed in seeds]
        if max(seconds) >= 1:
            yield f"| {phase} | {', '.join(f'{value:.0f}' for value in seconds)} | {fmean(seconds):.0f} |"
    whole = [sum(seed["seconds"].values()) for seed in seeds]
    yield f"| all | {', '.join(f'{value:.0f}' for value in whole)} | {fmean(whole):.0f} |"
    yield ""
    for size in seeds[0]["judging"]:
        found = [entry for seed in seeds for entry in seed["judging"][size]]
        ratios = [entry["judging"] / entry["passes"] for entry in found]
        usual = median(entry["judging"] for entry in found)
        yield f"To judge a path on a canvas of {size} (BatchNorm measured on 64 images, AP on 64) takes {usual:.1f} s,"
        yield f"{median(ratios):.2f} times its forward passes ({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)}"
        yield f"paths); wanted: at most {MOST_JUDGING}."
        yield ""


def name_seeds(seeds: Sequence[Seed]) -> str:
    return " | ".join(f"seed {seed['seed']}" for seed in seeds)


def find_aps(seed: Seed, row: str) -> list[float]:
    """AP of every training of a row."""
    return [found["ap"] for found in seed["rows"] if found["row"] == row]


def mean_ap(seed: Seed, row: str) -> float:
    return fmean(find_aps(seed, row))


def list_pairs(seed: Seed, name: str, blind: bool) -> list[tuple[float, float]]:
    """What each path was judged to be, and its mean AP after the training that all have."""
    pairs = []
    for path, fitness in zip(seed["paths"], seed["fitness"][name], strict=True):
        rows = [row for row in seed["rows"] if row["path"] == path and row["row"] not in (SCRATCH_TOO, LONGER)]
        if not blind or any(row["row"] in CHOSEN_BLINDLY for row in rows):
            pairs.append((fitness, fmean(row["ap"] for row in rows)))
    return pairs


def spell(values: Sequence[float], with_spread: bool) -> str:
    if with_spread and len(values) > 1:
        return f"{fmean(values):.1f} ± {stdev(values):.1f}"
    return ", ".join(f"{value:.1f}" for value in values)


def split(path: str, depths: Sequence[int]) -> str:
    """The blocks of a path by stages, as the paper has them."""
    ends = list(accumulate(depths))
    return " ".join(path[end - depth : end] for end, depth in zip(ends, depths, strict=True))


def spell_depths(depths: Sequence[int]) -> str:
    return f"{sum(depths)} places in stages of {', '.join(map(str, depths))}"
