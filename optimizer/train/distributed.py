"""One training on many GPUs: a process for each, started by torchrun, which average their gradients.

The loop is the same for one process; what it needs of the others is here. Every process is handed the same arguments
but its own share of each batch (`TrainLoader`'s `rank` and `world`). What the processes decide, they decide alike:
the loss they judge is the mean over all of them, and files are the business of rank 0.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from optimizer.detectors.base import Truth
from optimizer.errors import InputError, RunFailed
from optimizer.train.steps import LossStep

__all__ = [
    "World",
    "current_world",
    "joined_world",
    "mean_over_ranks",
    "said_by_first",
    "share_buffers",
    "synchronised_batchnorm",
    "wrap_for_world",
]

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class World:
    """The processes of one training: this one's number, and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0


def current_world() -> World:
    """The processes joined now; one alone if none were."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return World()


@contextmanager
def joined_world(device_type: str | None = None) -> Iterator[World]:
    """Join the other processes that torchrun started, for the time of the context; nothing without torchrun.

    On GPUs each process gets the one of its local rank, as the current device, and they talk over nccl; on the CPU over
    gloo. `device_type` is "cuda" or "cpu"; None takes GPUs where there are any.

    Raises:
        InputError: torchrun's environment is incomplete or contradicts itself, or asks for GPUs that are not there.
        RunFailed: the processes did not find each other.
    """
    if "WORLD_SIZE" not in os.environ:
        yield World()
        return
    world, local_rank = _read_environment(os.environ)
    on_gpus = torch.cuda.is_available() if device_type is None else device_type == "cuda"
    if on_gpus:
        found = torch.cuda.device_count()
        if local_rank >= found:
            raise InputError(
                f"LOCAL_RANK is {local_rank}, but this machine shows {found} GPUs: start one process per GPU "
                f"(torchrun --nproc-per-node={max(found, 1)})"
            )
        torch.cuda.set_device(local_rank)
    try:
        dist.init_process_group(
            "nccl" if on_gpus else "gloo",
            rank=world.rank,
            world_size=world.size,
            device_id=torch.device("cuda", local_rank) if on_gpus else None,
        )
    except (RuntimeError, ValueError) as error:  # what torch raises differs with the transport
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise RunFailed(f"process {world.rank} of {world.size} found no others at {address}: {error}") from error
    try:
        yield world
    finally:
        dist.destroy_process_group()


def wrap_for_world(model: nn.Module, step: LossStep) -> Callable[[Tensor, list[Truth]], dict[str, Tensor]]:
    """(images, truths) -> losses of `step`; with more processes, their backward pass averages gradients over all.

    Keep what is returned as long as a backward pass may come.

    Weights and buffers of `model` and, if it is a module, of `step` become rank 0's. Before every step the buffers
    become rank 0's again, as DistributedDataParallel does unless told otherwise: BatchNorm statistics that are not
    synchronised (on the CPU) differ between ranks, and so may a step's own buffers; a checkpoint holds rank 0's, so
    that going on from it is exact. It costs one small message per step.

    Parameters that a step does not use may differ from step to step, and on the CPU from rank to rank. On GPUs each
    rank must pass the same BatchNorms in the same order, or they wait for each other for ever: a step that chooses
    among networks chooses alike on all ranks, so not by torch's global generator.
    """
    if current_world().size == 1:
        return lambda images, truths: step(model, images, truths)
    return DistributedDataParallel(_StepOfModel(model, step), find_unused_parameters=True)


class _StepOfModel(nn.Module):
    """A step with its model as one module, whose forward pass is seen whole by DistributedDataParallel."""

    def __init__(self, model: nn.Module, step: LossStep) -> None:
        super().__init__()
        self.model, self.step = model, step  # a step that is a module is registered as one

    def forward(self, images: Tensor, truths: list[Truth]) -> dict[str, Tensor]:
        return self.step(self.model, images, truths)


class _SynchronisedBatchNorm2d(nn.SyncBatchNorm, nn.BatchNorm2d):
    """SyncBatchNorm that `isinstance` still takes for a BatchNorm2d, and without state of its own."""

    process_group: Any = None


@contextmanager
def synchronised_batchnorm(model: nn.Module, step: LossStep, device: torch.device) -> Iterator[None]:
    """Make the BatchNorms of `model` and `step` take their statistics over all processes, within the context.

    On GPUs only, and nothing for one process. The modules stay the very objects they are, with their parameters, hooks
    and names; only their class changes, and changes back. `nn.SyncBatchNorm.convert_sync_batchnorm` would put other
    objects in their place, of which a step that holds some of them would not know. Subclasses of BatchNorm2d are left.
    """
    norms: list[nn.Module] = []
    if current_world().size > 1 and device.type == "cuda":
        roots = [model, *([step] if isinstance(step, nn.Module) else [])]
        norms = [module for root in roots for module in root.modules() if type(module) is nn.BatchNorm2d]
    try:
        for norm in norms:
            norm.__class__ = _SynchronisedBatchNorm2d
        yield
    finally:
        for norm in norms:
            norm.__class__ = nn.BatchNorm2d


def mean_over_ranks(value: Tensor) -> float:
    """The mean of a scalar over all processes, equal on each; not finite if it is not on any."""
    world = current_world()
    if world.size == 1:
        return value.item()
    total = value.detach().to(torch.float64, copy=True)
    dist.all_reduce(total)
    return total.item() / world.size


def said_by_first(number: int, device: torch.device) -> int:
    """What rank 0 calls this with, on every rank."""
    if current_world().size == 1:
        return number
    told = torch.tensor(number, device=device)
    dist.broadcast(told, src=0)
    return int(told.item())


def share_buffers(model: nn.Module, step: LossStep) -> None:
    """Give every process rank 0's buffers, which the step just done may have left different."""
    if current_world().size > 1:
        for buffer in _StepOfModel(model, step).buffers():
            dist.broadcast(buffer, src=0)


def _read_environment(environment: Mapping[str, str]) -> tuple[World, int]:
    """World and local rank as torchrun says them."""
    missing = [name for name in VARIABLES if not environment.get(name)]
    if missing:
        raise InputError(f"WORLD_SIZE is set, but not {', '.join(missing)}: start with torchrun, or unset WORLD_SIZE")
    numbers = {}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"):
        if not environment[name].isdecimal():
            raise InputError(f"{name} is {environment[name]!r}, not a number: start with torchrun")
        numbers[name] = int(environment[name])
    rank, size, local_rank = numbers["RANK"], numbers["WORLD_SIZE"], numbers["LOCAL_RANK"]
    if not local_rank <= rank < size:
        raise InputError(f"RANK {rank}, LOCAL_RANK {local_rank} and WORLD_SIZE {size} contradict each other")
    return World(rank, size), local_rank
