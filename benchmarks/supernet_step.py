"""What does a training step of a super-network cost compared with one of the drawn subnet alone? Wanted: at most 1.2.

    python benchmarks/supernet_step.py [--bases ofa_resnet50,shufflenetv2_20] [--detector centernet] [--size 320x240]
        [--draws 8] [--report reports/FILE.md]

Forward and backward pass and the optimiser's step of subnets that a seed draws, each as itself and on the shared
weights, in turns on the same images. Adam, without a teacher. The machine has to be quiet.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import torch
from export_vs_torchvision import describe_machine
from side_by_side import time_rounds
from torch import Tensor, nn
from training_step import BATCH, Batch, make_batch

from optimizer.arch.families import OFA_SHAPES, PATH_SPACES
from optimizer.arch.subnets import Subnet
from optimizer.data.shapes import CLASS_NAMES
from optimizer.quantities import parse_size
from optimizer.recipes import quick
from optimizer.supernet.base import Supernet

METHODS = dict.fromkeys(PATH_SPACES, "detnas") | dict.fromkeys(OFA_SHAPES, "detofa")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bases", default="ofa_resnet50,shufflenetv2_20")
    parser.add_argument("--detector", default="centernet")
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5, help="of each subnet, after one that is not counted")
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    size = parse_size(arguments.size)
    cases = []
    for base in arguments.bases.split(","):
        cases.append(measure_case(base, arguments.detector, size, arguments.draws, arguments.rounds))
        print("\n".join(list_rows(cases[-1:])), flush=True)
    head = ["| base | subnet | seconds a step alone | of the super-network, as a multiple |", "|---|---|---|---|"]
    text = "\n".join([*head, *list_rows(cases)])
    if arguments.report is not None:
        raw = {
            "made": datetime.now(timezone.utc).isoformat(timespec="seconds"), "size": size,
            "machine": describe_machine(torch.get_num_threads()), "batch": BATCH, "detector": arguments.detector,
            "cases": cases,
        }  # fmt: skip
        arguments.report.with_suffix(".json").write_text(json.dumps(raw, indent=1) + "\n")
        arguments.report.write_text(text + "\n")
    print(text)


def measure_case(base: str, detector: str, size: tuple[int, int], draws: int, rounds: int) -> dict[str, Any]:
    """Seconds of each drawn subnet's step, alone and on the shared weights, round by round."""
    recipe = quick().changed(
        {"base": base, "detector": detector, "search.method": METHODS[base], "search.space.sizes": (size,)}
    )
    supernet = recipe.pool_config().build(len(CLASS_NAMES))
    batch, rng = make_batch(size), Random(0)
    subnets = [measure_subnet(supernet, supernet.space.sample(rng), batch, rounds) for _ in range(draws)]
    return {"base": base, "subnets": subnets}


def measure_subnet(supernet: Supernet, subnet: Subnet, batch: Batch, rounds: int) -> dict[str, Any]:
    alone = supernet.extract(subnet).train()
    supernet.shared.train()
    steps = {
        "alone": make_step(alone, lambda: alone.losses(*batch)),
        "shared": make_step(supernet.shared, lambda: supernet.run(subnet, *batch)[0]),
    }
    seconds = time_rounds(steps, rounds)
    return {"subnet": str(subnet), **seconds}


def make_step(model: nn.Module, find_losses: Callable[[], dict[str, Tensor]]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(find_losses().values())).sum().backward()
        optimizer.step()

    return step


def list_rows(cases: list[dict[str, Any]]) -> list[str]:
    rows = []
    for case in cases:
        found = []
        for entry in case["subnets"]:
            ratios = [shared / alone for shared, alone in zip(entry["shared"], entry["alone"])]
            found.append(median(ratios))
            spread = f"{found[-1]:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            rows.append(f"| {case['base']} | {entry['subnet']} | {median(entry['alone']):.2f} | {spread} |")
        rows.append(
            f"| {case['base']} | the median of all | | {median(found):.2f} ({min(found):.2f} to {max(found):.2f}) |"
        )
    return rows


if __name__ == "__main__":
    main()
