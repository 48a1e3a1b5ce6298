"""One process of test_distributed.py: does a job, alone or in torchrun's environment, and leaves what it found.

Usage: one_of_many.py JOB FOLDER; the findings of rank R go to FOLDER/JOB-R-of-N.pt.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from deploy import Preprocess
from deploy.data import read_dataset
from deploy.evaluate import evaluate_detections
from optimizer.arch import ArchSpec, BlockSpec, FpnSpec, ResNetSpec, RetinaNetHead, StageSpec
from optimizer.data.loader import TrainLoader
from optimizer.detectors import build_detector
from optimizer.detectors.base import Detector, Truth
from optimizer.train.config import TrainConfig
from optimizer.train.distributed import World, joined_world, wrap_for_world
from optimizer.train.loop import Progress, TrainingDiverged, train
from optimizer.train.predict import predict
from optimizer.train.steps import DetectionStep, LossStep

CPU = torch.device("cpu")
SIZE = (64, 64)
STAGES = (
    StageSpec((BlockSpec((16, 16)),)),
    StageSpec((BlockSpec((24, 24), stride=2, projection=True),)),
    StageSpec((BlockSpec((32, 32), stride=2, projection=True),)),
    StageSpec((BlockSpec((32, 32), stride=2, projection=True),)),
)
ARCH = ArchSpec(SIZE, ResNetSpec(STAGES, stem_width=16), FpnSpec(32), RetinaNetHead(tower_depth=1, anchor_scale=4))
Found = dict[str, Any]


class FrozenNorms:
    """The detector's own losses with BatchNorm in evaluation mode, so that images do not see each other.

    In the precision of the model: a training in double precision shows that two are one after many steps too, where
    single precision shows how training magnifies the rounding of another order of sums.
    """

    def __call__(self, model: nn.Module, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        dtype = next(model.parameters()).dtype
        truths = [truth._replace(boxes_xyxy=truth.boxes_xyxy.to(dtype)) for truth in truths]
        losses: dict[str, Tensor] = model(images.to(dtype), truths)
        return losses


def find_gradients(world: World, folder: Path) -> Found:
    """Gradients and losses of one batch of four."""
    detector = build_a_detector().train()
    images, truths = next(make_loader(world, folder).epoch(0))
    losses_of = wrap_for_world(detector, FrozenNorms())  # needed until the backward pass is over
    losses = losses_of(images, truths)
    torch.stack(list(losses.values())).sum().backward()
    return {"images": len(images), **{name: p.grad for name, p in detector.named_parameters()}}


def train_detector(world: World, folder: Path) -> Found:
    """A short training on generated shapes, and the average precision after it."""
    detector = build_a_detector().double()
    config = TrainConfig(epochs=40, lr=0.02, optimizer="sgd", precision="fp32", schedule="constant", warmup_steps=10)
    reports: list[Progress] = []
    result = train(detector, make_loader(world, folder), FrozenNorms(), config, seed=3, report=reports.append)
    weights = {name: value.clone() for name, value in detector.state_dict().items()}
    data = read_dataset(folder / "shapes", "val")
    precision = evaluate_detections(data, predict(detector.float(), data.records, Preprocess.imagenet(*SIZE), CPU))
    return {
        "weights": weights,
        "ap": precision.ap50,
        "curve": result.curve,
        "reported": [item.loss for item in reports],
    }


class TinyModel(nn.Module):
    """Trains in milliseconds and has what a resumed training must keep: BatchNorm in training mode, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.2))
        self.head = nn.Conv2d(4, 1, 1)

    def forward(self, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        wanted = torch.stack([truth.boxes_xyxy.sum() for truth in truths])
        found = self.head(self.backbone.body(images)).mean((1, 2, 3))
        return {"near": ((found - wanted) ** 2).mean(), "small": found.abs().mean()}


class TinyLoader:
    """Five batches of four an epoch, which depend on the epoch and the step alone; this rank's share of them."""

    def __init__(self, world: World) -> None:
        self.world = world

    def __len__(self) -> int:
        return 5

    def epoch(self, number: int, start_step: int = 0) -> Iterator[tuple[Tensor, list[Truth]]]:
        for step in range(start_step, len(self)):
            random = torch.Generator().manual_seed(100 * number + step)
            images = torch.randn(4, 3, 8, 8, generator=random)
            truths = [Truth(torch.rand(1, 4, generator=random), torch.ones(1).long()) for _ in range(4)]
            yield images[self.world.rank :: self.world.size], truths[self.world.rank :: self.world.size]


def train_tiny(world: World, model: nn.Module, step: LossStep, **rest: Any) -> Found:
    """Three epochs; the weights, and the step's own, after them."""
    checkpoint, report = rest.pop("checkpoint", None), rest.pop("report", None)
    values = {"epochs": 3, "lr": 0.05, "precision": "fp32", "warmup_steps": 2, "checkpoint_every_s": 0.0, **rest}
    config = TrainConfig.model_validate(values)
    result = train(model, TinyLoader(world), step, config, seed=3, checkpoint=checkpoint, report=report)
    own = step.state_dict() if isinstance(step, nn.Module) else {}
    return {"weights": {**model.state_dict(), **own}, "skipped": result.skipped_batches, "curve": result.curve}


def build_tiny() -> TinyModel:
    torch.manual_seed(7)
    return TinyModel()


def train_whole(world: World, folder: Path) -> Found:
    """An undisturbed training with everything that has state."""
    return train_tiny(world, build_tiny(), DetectionStep(), ema_decay=0.9, bn_l1=1e-2)


def train_killed(world: World, folder: Path) -> Found:
    """The same training; rank 0 vanishes at step 8."""

    def vanish(progress: Progress) -> None:
        if progress.step == 8:
            os._exit(9)

    return train_tiny(
        world, build_tiny(), DetectionStep(), ema_decay=0.9, bn_l1=1e-2, checkpoint=folder / "c", report=vanish
    )


def train_resumed(world: World, folder: Path) -> Found:
    """The same training, from what the killed one left."""
    seen: list[int] = []
    found = train_tiny(
        world, build_tiny(), DetectionStep(), ema_decay=0.9, bn_l1=1e-2, checkpoint=folder / "c",
        report=lambda progress: seen.append(progress.step),
    )  # fmt: skip
    return {**found, "seen": seen}


class Sliced(nn.Module):
    """What a super-network's step does: slices of weights, some of them unused for a while, and weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("drawn", torch.zeros((), dtype=torch.int64))

    def forward(self, model: nn.Module, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        self.drawn += 1
        width = 2 if self.drawn % 2 else 4
        own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        sliced = {name: value[:width] if name.startswith("0.") else value for name, value in own.items()}
        sliced["2.weight"] = own["2.weight"][:, :width]
        found = functional_call(model, sliced, images).mean((1, 2, 3))
        wanted = torch.stack([truth.boxes_xyxy.sum() for truth in truths])
        losses = {"near": ((found - wanted) ** 2).mean()}
        return losses if self.drawn > 9 else {**losses, "small": self.gain**2 * found.abs().mean()}


def train_sliced(world: World, folder: Path) -> Found:
    """A training whose step uses slices, no BatchNorm, weights of its own, and not always all of them."""
    torch.manual_seed(7)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 1), nn.Conv2d(1, 1, 1))
    model[3].requires_grad_(False)
    return train_tiny(world, model, Sliced(), optimizer="sgd")


class BadOnOne:
    """The loss (or only its gradient) of the last rank is not finite at the steps named."""

    def __init__(self, world: World, bad_losses: set[int], bad_gradients: set[int]) -> None:
        self.is_last = world.rank == world.size - 1
        self.bad_losses, self.bad_gradients, self.number = bad_losses, bad_gradients, -1

    def __call__(self, model: nn.Module, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        self.number += 1
        losses: dict[str, Tensor] = model(images, truths)
        if self.is_last and self.number in self.bad_losses:
            return {**losses, "near": losses["near"] * torch.nan}
        if self.is_last and self.number in self.bad_gradients:
            return {**losses, "root": (losses["small"] * 0.0).sqrt()}
        return losses


def survive_bad_losses(world: World, folder: Path) -> Found:
    """Two bad losses (the last step's among them) and a bad gradient, on one rank only; then the model on its own."""
    model = build_tiny()
    found = train_tiny(world, model, BadOnOne(world, {2, 14}, {7}))
    images, truths = next(TinyLoader(World()).epoch(0))
    if world.is_first:  # nothing of the training is left in the model that would wait for the others
        model(images, truths)["near"].backward()
    return {**found, "types": sorted({type(module).__name__ for module in model.modules()})}


def diverge(world: World, folder: Path) -> Found:
    """Too many bad losses in a row, on one rank only."""
    try:
        train_tiny(world, build_tiny(), BadOnOne(world, {4, 5, 6}, set()), max_bad_losses=3)
    except TrainingDiverged as error:
        return {"error": str(error)}
    return {}


def read_two_checkpoints(world: World, folder: Path) -> Found:
    """A checkpoint that only rank 1 sees is not used."""
    mine = folder / f"rank-{world.rank}"
    mine.mkdir()
    if world.rank == 1:
        (mine / "c").write_text("of another time")
    return train_tiny(world, build_tiny(), DetectionStep(), checkpoint=mine / "c")


def build_a_detector() -> Detector:
    return build_detector(ARCH, 4, seed=0)


def make_loader(world: World, folder: Path) -> TrainLoader:
    data = read_dataset(folder / "shapes", "train")
    return TrainLoader(
        data, Preprocess.imagenet(*SIZE), batch_size=4, seed=1, augment="light", share=(world.rank, world.size)
    )


PARITY = (find_gradients, train_detector, train_sliced)
AGREEMENT = (train_whole, survive_bad_losses, diverge, read_two_checkpoints)
JOBS = {"alone": PARITY, "together": PARITY + AGREEMENT, "killed": (train_killed,), "resumed": (train_resumed,)}


def main() -> None:
    job, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    with joined_world("cpu") as world:
        found = {do.__name__: do(world, folder) for do in JOBS[job]}
    torch.save(found, folder / f"{job}-{world.rank}-of-{world.size}.pt")


if __name__ == "__main__":
    main()
