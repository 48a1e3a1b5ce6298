"""Where does a training step's time go on a CPU, and what does each way to shorten it give?

    python benchmarks/training_step.py [--bases r18,r50] [--sizes 160x120,320x240] [--report reports/FILE.md]

Faster R-CNN on generated images: forward and backward pass and the optimiser's step, each way in turns on the same
images and first weights. RoIAlign by torchvision's operator; as we train, by an embedding bag over cells; the same with
channels last; the same with a quarter of the regions, which trains something else. The machine has to be quiet.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

import torch
from export_vs_torchvision import describe_machine
from side_by_side import time_rounds
from torch.profiler import ProfilerActivity, profile
from torchvision.ops import MultiScaleRoIAlign

from deploy import Preprocess
from deploy.data import read_dataset
from optimizer.arch.families import base_arch
from optimizer.data.loader import TrainLoader
from optimizer.data.shapes import CLASS_NAMES, write_shapes
from optimizer.detectors import Detector, Truth, build_detector
from optimizer.quantities import parse_size
from optimizer.train.steps import DetectionStep

BATCH = 4
NAMED = 8  # operators of a profile that are listed
Batch = tuple[torch.Tensor, list[Truth]]
Step = Callable[[], None]


def by_torchvision(detector: Detector) -> None:
    detector.roi_heads.box_roi_pool = MultiScaleRoIAlign(["0", "1", "2", "3"], output_size=7, sampling_ratio=2)


def with_channels_last(detector: Detector) -> None:
    detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def with_fewer_regions(detector: Detector) -> None:
    detector.roi_heads.fg_bg_sampler.batch_size_per_image //= 4


WAYS: dict[str, Callable[[Detector], None]] = {
    "torchvision's RoIAlign": by_torchvision,
    "embedding bag (ours)": lambda detector: None,
    "ours, channels last": with_channels_last,
    "ours, a quarter of the regions": with_fewer_regions,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bases", default="r18,r50")
    parser.add_argument("--sizes", default="160x120,320x240")
    parser.add_argument("--region-proposals", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    cases = []
    for base in arguments.bases.split(","):
        for size in map(parse_size, arguments.sizes.split(",")):
            cases.append(measure_case(base, size, arguments.region_proposals, arguments.rounds))
            print("\n".join(list_rows(cases[-1:])), flush=True)
    text = "\n".join([
        "| base | canvas | way | seconds a step | of torchvision's (least to most of a round) |",
        "|---|---|---|---|---|",
        *list_rows(cases), "", *list_profiles(cases),
    ])  # fmt: skip
    if arguments.report is not None:
        raw = {
            "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": describe_machine(torch.get_num_threads()), "batch": BATCH, "cases": cases,
            "region_proposals": arguments.region_proposals,
        }  # fmt: skip
        arguments.report.with_suffix(".json").write_text(json.dumps(raw, indent=1) + "\n")
        arguments.report.write_text(text + "\n")
    print(text)


def measure_case(base: str, size: tuple[int, int], region_proposals: int, rounds: int) -> dict[str, Any]:
    """Seconds of each way's step, round by round, and what takes the time in the first two ways."""
    batch = make_batch(size)
    steps = {name: make_step(base, size, region_proposals, change, batch) for name, change in WAYS.items()}
    seconds = time_rounds(steps, rounds)
    return {
        "base": base, "size": size, "seconds": seconds,
        "profiles": {name: dict(profile_step(steps[name])) for name in list(WAYS)[:2]},
    }  # fmt: skip


def make_batch(size: tuple[int, int]) -> Batch:
    with tempfile.TemporaryDirectory() as folder:
        data = read_dataset(write_shapes(Path(folder) / "shapes", train=BATCH, val=1, size=(320, 240), seed=0), "train")
        loader = TrainLoader(
            data, [Preprocess.imagenet(*size)], batch_size=BATCH, seed=0, augment="light", workers=0
        )  # fmt: skip
        images, truths = next(iter(loader.epoch(0)))
    return images, truths


def make_step(
    base: str, size: tuple[int, int], region_proposals: int, change: Callable[[Detector], None], batch: Batch
) -> Step:
    detector = build_detector(
        base_arch(base, size, region_proposals=region_proposals), len(CLASS_NAMES), seed=0
    ).train()
    change(detector)
    optimizer, losses = torch.optim.SGD(detector.parameters(), lr=1e-4, momentum=0.9), DetectionStep()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses(detector, *batch).values())).sum().backward()
        optimizer.step()

    return step


def profile_step(step: Step) -> Iterator[tuple[str, float]]:
    """The operators that take most of a step, with their shares of it."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        step()
    found = sorted(recorded.key_averages(), key=lambda event: -event.self_cpu_time_total)
    whole = sum(event.self_cpu_time_total for event in found)
    for event in found[:NAMED]:
        yield event.key, event.self_cpu_time_total / whole


def list_rows(cases: list[dict[str, Any]]) -> list[str]:
    rows = []
    for case in cases:
        first = case["seconds"][next(iter(WAYS))]
        for name, seconds in case["seconds"].items():
            ratios = [own / other for own, other in zip(seconds, first)]
            spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if seconds is not first else "1"
            canvas = "{}x{}".format(*case["size"])
            rows.append(f"| {case['base']} | {canvas} | {name} | {median(seconds):.2f} | {spread} |")
    return rows


def list_profiles(cases: list[dict[str, Any]]) -> Iterator[str]:
    """Of each case, what share of a step its dearest operators take."""
    for case in cases:
        for name, shares in case["profiles"].items():
            listed = ", ".join(f"`{operator}` {share:.0%}" for operator, share in shares.items())
            yield "- {} at {}x{}, {}: {}".format(case["base"], *case["size"], name, listed)


if __name__ == "__main__":
    main()
