"""What distillation and morphing cost: a step with a teacher compared with one without, and an inherited R101.

    python benchmarks/distillation_cost.py [--size 320x240] [--rounds 15] [--json FILE]

Steps are timed in turns (plain, distilled, the teacher's forward pass alone), with random images and weights of the
`quick` recipe's student and largest teacher. The morph is channel pruning of R101 at 1333x800 with inheritance, from
weights to weights.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from side_by_side import time_rounds

from optimizer.arch import PruneChannels, base_arch
from optimizer.detectors import Truth, build_detector
from optimizer.distill.step import DistillStep
from optimizer.morph import morph
from optimizer.quantities import parse_size
from optimizer.recipes import quick, scaled_sizes
from optimizer.train.precision import autocast_dtype
from optimizer.train.steps import DetectionStep, LossStep

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    size = parse_size(arguments.size)
    config = quick(Path("images")).changed({"input_size": size, "search.space.sizes": scaled_sizes(size)})
    space = config.pool_config().space()
    student = build_detector(config.base_arch(), 3, seed=0).to(DEVICE).train()
    teacher = build_detector(space.arch(space.largest()), 3, seed=1).to(DEVICE)
    distilled = DistillStep(config.base_arch(), teacher, config.distill).to(DEVICE)
    images = torch.randn(config.batch_size, 3, size[1], size[0], device=DEVICE)
    box = torch.tensor([[size[0] * 0.2, size[1] * 0.2, size[0] * 0.6, size[1] * 0.6]], device=DEVICE)
    truths = [Truth(box, torch.zeros(1, dtype=torch.int64, device=DEVICE))] * config.batch_size
    dtype = autocast_dtype("auto", DEVICE)
    optimizer = torch.optim.AdamW([*student.parameters(), *distilled.parameters()], lr=1e-5)
    regions: list[torch.Tensor] = []

    def step(what: LossStep) -> None:
        with torch.autocast(DEVICE.type, dtype, enabled=dtype is not None):
            loss = torch.stack(list(what(student, images, truths).values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()

    @torch.no_grad()
    def look() -> None:
        with torch.autocast(DEVICE.type, dtype, enabled=dtype is not None):
            teacher.view(images, regions, size).log_probs.sum().item()

    with torch.no_grad():
        regions += student.losses_and_regions(images, truths)[1]
    parts: dict[str, Callable[[], None]] = {
        "plain": lambda: step(DetectionStep()), "distilled": lambda: step(distilled), "teacher": look,
    }  # fmt: skip
    seconds = time_rounds(parts, arguments.rounds, warm_up=2)
    middle = {name: median(values) for name, values in seconds.items()}
    r101 = base_arch("r101", (1333, 800))
    weights = build_detector(r101, 80, seed=0).state_dict()
    morphs = []
    for _ in range(5):
        started = time.perf_counter()
        morph(weights, r101, (PruneChannels(),))
        morphs.append(time.perf_counter() - started)
    result = {
        "device": str(DEVICE), "threads": torch.get_num_threads(), "torch": torch.__version__, "size": size,
        "rounds": arguments.rounds, "median_s": middle,
        "distilled_over_plain_plus_teacher": middle["distilled"] / (middle["plain"] + middle["teacher"]),
        "morph_r101_s": morphs, "samples_s": seconds,
    }  # fmt: skip
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({name: value for name, value in result.items() if name != "samples_s"}, indent=1))


if __name__ == "__main__":
    main()
