"""How many images a second does a training step do, beside torchvision's reference loop in FP32 and in bfloat16?

    python benchmarks/reference_loop.py [--base r18] [--size 320x240] [--batch 4]

Ours is what a run does: the project's Faster R-CNN, its precision for this machine, AdamW and clipping. Theirs is the
body of `train_one_epoch` in torchvision's references: the whole model with its transform, SGD, the losses summed. The
same images and objects, all sides in turns in one process. Wanted: 2.0 times the FP32 loop, 1.4 times the bfloat16 one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from export_vs_torchvision import CORES
from gpu_parts.training import CLASSES, make_batches
from side_by_side import Outcome, add_options, compare, finish, time_in_turns
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from optimizer.arch import base_arch
from optimizer.detectors import Truth, build_detector
from optimizer.quantities import parse_size
from optimizer.train.precision import autocast_dtype
from optimizer.train.steps import DetectionStep

CPU = torch.device("cpu")
BODIES = {"r18": "resnet18", "r50": "resnet50"}
WANTED = {"torchvision fp32": 2.0, "torchvision bf16": 1.4}


def make_ours(base: str, size: tuple[int, int], images: torch.Tensor, truths: list[Truth]) -> Callable[[], None]:
    detector = build_detector(base_arch(base, size), CLASSES, seed=0).train()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=1e-4)
    dtype, losses = autocast_dtype("auto", CPU), DetectionStep()

    def step() -> None:
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            loss = torch.stack(list(losses(detector, images, truths).values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(detector.parameters(), 10.0)
        optimizer.step()
        loss.item()

    return step


def make_theirs(
    base: str, size: tuple[int, int], images: torch.Tensor, truths: list[Truth], half: bool
) -> Callable[[], None]:
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(
        backbone_name=BODIES[base], weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
    )
    model = FasterRCNN(backbone, CLASSES + 1, min_size=min(size), max_size=max(size)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)
    pictures = list((images * 0.225 + 0.45).clamp(0, 1))
    targets = [{"boxes": truth.boxes_xyxy, "labels": truth.labels + 1} for truth in truths]

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            losses = sum(model(pictures, targets).values())
        optimizer.zero_grad()
        losses.backward()
        optimizer.step()
        losses.item()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", choices=BODIES, default="r18")
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=CORES)
    add_options(parser, "reference-loop", 12)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    size = parse_size(arguments.size)
    ((images, truths),) = make_batches(size, arguments.batch, 1)
    steps = {"ours": make_ours(arguments.base, size, images, truths)}
    steps["torchvision fp32"] = make_theirs(arguments.base, size, images, truths, half=False)
    steps["torchvision bf16"] = make_theirs(arguments.base, size, images, truths, half=True)
    samples = time_in_turns(steps, arguments.rounds, warm_up=2)
    outcomes = []
    for side, wanted in WANTED.items():
        gain, ci95 = compare(samples[side], samples["ours"])
        question = f"images a second of a training step over {side}, {arguments.base} {arguments.size}"
        outcomes.append(Outcome(question, gain, wanted, True, ci95))
    precision = str(autocast_dtype("auto", CPU))
    settings = {"base": arguments.base, "size": size, "batch": arguments.batch, "our_precision": precision}
    finish(arguments.json, __doc__.splitlines()[0], outcomes, settings=settings, samples_ms=samples)


if __name__ == "__main__":
    main()
