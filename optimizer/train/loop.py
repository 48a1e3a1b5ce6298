"""One training loop for any `LossStep`; distillation and supernet training are other steps, not other loops."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from optimizer.detectors.base import Truth
from optimizer.errors import RunFailed
from optimizer.train.allocator import keep_freed_memory
from optimizer.train.checkpoint import load_checkpoint, save_checkpoint
from optimizer.train.config import Freeze, TrainConfig
from optimizer.train.distributed import (
    current_world,
    mean_over_ranks,
    said_by_first,
    share_buffers,
    synchronised_batchnorm,
    wrap_for_world,
)
from optimizer.train.freeze import frozen
from optimizer.train.precision import autocast_dtype
from optimizer.train.schedule import lr_factor
from optimizer.train.state import TrainState
from optimizer.train.steps import LossStep, Paced

__all__ = ["Loader", "Progress", "TrainResult", "TrainingDiverged", "train"]

CURVE_POINTS = 200
NOTHING = Freeze()


class TrainingDiverged(RunFailed):
    """The loss or its gradient was not finite too often."""


class Loader(Protocol):
    """What feeds a training: the same epoch always has the same batches, and can be entered at any step."""

    def __len__(self) -> int: ...

    def epoch(self, number: int, start_step: int = 0) -> Iterator[tuple[Tensor, list[Truth]]]: ...


@dataclass(frozen=True)
class Progress:
    """Where a training stands: steps done of all steps, and the step just done.

    Attributes:
        loss: of all processes. losses: its parts, by name, of this process's share of the batch.
        lr: learning rate.
    """

    step: int
    total: int
    loss: float
    lr: float
    losses: Mapping[str, Tensor] = field(compare=False)


@dataclass(frozen=True)
class TrainResult:
    """What a training left besides the weights.

    Attributes:
        curve: (step, loss averaged since the point before), at most 200 points.
        skipped_batches: batches whose loss or gradient was not finite.
        seconds: of this process, without what an earlier one did before a resume.
        state: what another training needs to go on from here.
    """

    curve: tuple[tuple[int, float], ...]
    skipped_batches: int
    steps: int
    seconds: float
    state: TrainState = field(compare=False)


@dataclass
class _Position:
    """Everything of a training that is neither a weight nor the optimiser's."""

    step: int = 0
    skipped: int = 0
    bad_in_a_row: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)
    window: list[float] = field(default_factory=list)


def train(
    model: nn.Module,
    loader: Loader,
    step: LossStep,
    config: TrainConfig,
    *,
    seed: int,
    checkpoint: Path | None = None,
    report: Callable[[Progress], None] | None = None,
    freeze: Freeze = NOTHING,
    start: TrainState | None = None,
    first_epoch: int = 0,
) -> TrainResult:
    """Train `model` in place (its weights, or their moving average with EMA), on the device that it is on.

    It is left in evaluation mode.

    With a checkpoint path the training is saved there as it goes, and goes on from there if the file exists: bit for
    bit on a CPU. The global random generators are left as they were found.

    Args:
        freeze: parts of a detector that are left as they are.
        start: of the training that left these weights, to go on from; None starts anew.
        first_epoch: of the loader, where earlier trainings had those before.

    In several processes (`distributed.joined_world`) every one calls this with the same arguments and its own share of
    each batch, and has the same weights after it; rank 0 alone writes the checkpoint and calls `report`.

    Raises:
        TrainingDiverged: the loss was not finite `config.max_bad_losses` times in a row.
        RunFailed: the checkpoint is another training's, or cannot be written.
    """
    keep_freed_memory()
    device = _find_device(model)
    devices = [torch.cuda.current_device()] if device.type == "cuda" and current_world().size > 1 else None
    with torch.random.fork_rng(devices), synchronised_batchnorm(model, step, device):
        torch.manual_seed(seed)
        model.train()
        with frozen(model, freeze):
            return _train(model, loader, step, config, seed, checkpoint, report, start, first_epoch)


def _train(
    model: nn.Module,
    loader: Loader,
    step: LossStep,
    config: TrainConfig,
    seed: int,
    checkpoint: Path | None,
    report: Callable[[Progress], None] | None,
    start: TrainState | None,
    first_epoch: int,
) -> TrainResult:
    started = saved = time.monotonic()
    world, device = current_world(), _find_device(model)
    if world.size > 1 and isinstance(step, nn.Module):
        step.to(device)  # GPUs send each other nothing that is not on a GPU, a step's counters included
    dtype = autocast_dtype(config.precision, device)
    optimizer = _build_optimizer(model, step, config)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
    average = None
    if config.ema_decay:
        average = AveragedModel(model, use_buffers=False, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
        if config.schedule == "constant":
            average.multi_avg_fn = _average_warming_up(config.ema_decay)
    parts = _Parts(model, step, optimizer, scaler, average)
    if start is not None:
        start.restore(model, step, optimizer, scaler, average)
    scales = _list_backbone_scales(model) if config.bn_l1 else []
    position = _Position()
    fingerprint = _fingerprint(model, config, seed, len(loader), first_epoch)
    total = config.epochs * len(loader)
    if checkpoint is not None and said_by_first(checkpoint.exists(), device):
        left = load_checkpoint(checkpoint, fingerprint)
        if left is not None:
            position = parts.restore(left)
    if said_by_first(position.step, device) != position.step:
        raise RunFailed(f"the processes found different checkpoints at {checkpoint}: its folder must be one for all")
    losses_of = wrap_for_world(model, step)

    while position.step < total:
        epoch, done = divmod(position.step, len(loader))
        for images, truths in loader.epoch(first_epoch + epoch, done):
            for group in optimizer.param_groups:
                group["lr"] = config.lr * lr_factor(position.step, total, config)
            if world.size > 1:  # each step and rank has its own random numbers, of which a checkpoint need not know
                torch.manual_seed(seed + position.step * world.size + world.rank)
            if isinstance(step, Paced):
                step.set_progress(position.step / total)
            images = images.to(device, non_blocking=True)
            truths = _move(truths, device)
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                losses = losses_of(images, truths)
            loss = torch.stack(list(losses.values())).sum()
            value = mean_over_ranks(loss)
            if math.isfinite(value):
                optimizer.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()
                for scale in scales:
                    if scale.grad is not None:  # a sub-network leaves some out
                        scale.grad.add_(scale.sign(), alpha=config.bn_l1 * scaler.get_scale())
                finite = _clip(optimizer, scaler, config.clip_norm)
                if finite or scaler.is_enabled():
                    scaler.step(optimizer)
                    scaler.update()
                if finite and average is not None:
                    average.update_parameters(model)
            else:
                finite = False
            position.step += 1
            _count(position, value, finite or (scaler.is_enabled() and math.isfinite(value)), losses, config)
            if position.step % max(total // CURVE_POINTS, 1) == 0 or position.step == total:
                _add_point(position)
            if report is not None and world.is_first:
                parts_of_loss = {name: part.detach() for name, part in losses.items()}
                report(Progress(position.step, total, value, optimizer.param_groups[0]["lr"], parts_of_loss))
            due = time.monotonic() - saved >= config.checkpoint_every_s
            if checkpoint is not None and world.is_first and due:
                save_checkpoint(checkpoint, fingerprint, parts.state(position), time.monotonic() - started)
                saved = time.monotonic()

    state = TrainState.capture(model, step, optimizer, scaler, average)
    if average is not None:
        model.load_state_dict({**model.state_dict(), **dict(average.module.named_parameters())})
    share_buffers(model, step)
    model.eval()
    return TrainResult(tuple(position.curve), position.skipped, position.step, time.monotonic() - started, state)


@dataclass(frozen=True)
class _Parts:
    """The stateful things of a training, saved and restored together."""

    model: nn.Module
    step: LossStep
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: AveragedModel | None

    def state(self, position: _Position) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "step": self.step.state_dict() if isinstance(self.step, nn.Module) else {},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state_dict() if self.average is not None else {},
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if self._has_cuda_rng() else [],
            "position": vars(position),
        }

    def restore(self, state: dict[str, Any]) -> _Position:
        self.model.load_state_dict(state["model"])
        if isinstance(self.step, nn.Module):
            self.step.load_state_dict(state["step"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        torch.set_rng_state(state["rng"])
        if self._has_cuda_rng():
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        return _Position(**state["position"])

    @staticmethod
    def _has_cuda_rng() -> bool:
        """Of many processes each keeps off the others' GPUs, and seeds its own anew at every step."""
        return torch.cuda.is_available() and current_world().size == 1


def _find_device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _build_optimizer(model: nn.Module, step: LossStep, config: TrainConfig) -> torch.optim.Optimizer:
    """SGD or AdamW; parameters of one dimension (BatchNorm, biases) do not decay."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if isinstance(step, nn.Module):
        parameters += [parameter for parameter in step.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)


def _average_warming_up(decay: float) -> Callable[[Any, Any, Any], None]:
    """An exponential moving average whose decay rises from a tenth to `decay` with the number of updates."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        updates = int(count)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + updates) / (10 + updates)))

    return update


def _list_backbone_scales(model: nn.Module) -> list[Tensor]:
    """Scales of the backbone's BatchNorms, which channel pruning ranks by."""
    return [
        module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d) and name.startswith("backbone.body.")
    ]


def _clip(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, clip_norm: float) -> bool:
    """Scale gradients down to `clip_norm`; False if they are not finite."""
    scaler.unscale_(optimizer)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip_norm or math.inf)
    return bool(torch.isfinite(norm))


def _move(truths: list[Truth], device: torch.device) -> list[Truth]:
    """The same on the device, by two copies whatever the number of images."""
    counts = [len(truth.labels) for truth in truths]
    boxes = torch.cat([truth.boxes_xyxy for truth in truths]).to(device)
    labels = torch.cat([truth.labels for truth in truths]).to(device)
    return [Truth(*both) for both in zip(boxes.split(counts), labels.split(counts))]


def _count(position: _Position, value: float, good: bool, losses: dict[str, Tensor], config: TrainConfig) -> None:
    if good:
        position.bad_in_a_row = 0
        position.window.append(value)
        return
    position.skipped += 1
    position.bad_in_a_row += 1
    if position.bad_in_a_row >= config.max_bad_losses:
        listed = ", ".join(f"{name} {loss.item():.3g}" for name, loss in losses.items())
        raise TrainingDiverged(
            f"the loss or its gradient was not finite {position.bad_in_a_row} times in a row at step {position.step} "
            f"({listed}); try a lower learning rate than {config.lr:g}, more warm-up, or --precision fp32"
        )


def _add_point(position: _Position) -> None:
    if position.window:
        position.curve.append((position.step, sum(position.window) / len(position.window)))
        position.window.clear()


def _fingerprint(model: nn.Module, config: TrainConfig, seed: int, steps: int, first_epoch: int) -> str:
    shapes = [(name, tuple(value.shape)) for name, value in model.state_dict().items()]
    text = f"{shapes}|{config.model_dump_json()}|{seed}|{steps}" + (f"|{first_epoch}" if first_epoch else "")
    return hashlib.sha256(text.encode()).hexdigest()
