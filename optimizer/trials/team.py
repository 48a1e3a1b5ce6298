"""Several processes for one run, started by torchrun: the first one runs it, the others help with every training.

The first process alone searches, writes, exports and measures. Before each training it tells the others what to train;
then all of them are in the same training, and its loop averages their gradients (`optimizer.train.distributed`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist

from deploy.data import Dataset, read_dataset
from optimizer.data.splits import keep_out
from optimizer.detectors import build_detector
from optimizer.errors import InputError, RunFailed
from optimizer.supernet.pool import TeacherPool, open_pool
from optimizer.supernet.pretraining import PretrainJob, pretrain_body
from optimizer.supernet.training import PoolJob, train_phase
from optimizer.train.distributed import current_world, joined_world
from optimizer.train.loop import TrainingDiverged
from optimizer.trials.jobs import PoolTeacher, StudentJob, choose_device, train_student

__all__ = ["assemble_team", "tell_team"]

PATIENCE = timedelta(days=7)  # the others wait while the first one measures or evaluates
END = {"kind": "end"}

_channel: dist.ProcessGroup | None = None


class Job(Protocol):
    """A value that JSON can hold and that says its kind."""

    def model_dump(self, *, mode: str) -> dict[str, Any]: ...


@contextmanager
def assemble_team(batch_sizes: Sequence[int] = ()) -> Iterator[bool]:
    """True in the process that does the run, which is the only one without torchrun.

    In the others the context yields False only after the run is over: they have helped meanwhile.

    Raises:
        InputError: the processes cannot share batches of these sizes.
        RunFailed: in a helping process, the first one ended with an error.
    """
    global _channel
    with joined_world() as world:
        unfit = [size for size in batch_sizes if size % world.size]
        if unfit:
            raise InputError(
                f"a batch of {unfit[0]} images cannot be shared by {world.size} processes: choose --batch-size, of "
                "all processes together"
            )
        if world.size == 1:
            yield True
            return
        group = dist.new_group(backend="gloo", timeout=PATIENCE)
        assert isinstance(group, dist.ProcessGroup)
        _channel = group
        try:
            if world.is_first:
                yield True
                _broadcast(END)  # not after an error: then the others are in the middle of something, and end with us
            else:
                _help()
                yield False
        finally:
            _channel = None


def tell_team(job: Job) -> None:
    """Have the other processes join the training that this one is about to begin; nothing where there are none."""
    if current_world().size > 1:
        _broadcast(job.model_dump(mode="json"))


class _Shelf:
    """Data sets and teacher pools, each read once."""

    def __init__(self) -> None:
        self._datasets: dict[Path, Dataset] = {}
        self._pools: dict[Path, TeacherPool] = {}

    def read(self, data: Path) -> Dataset:
        if data not in self._datasets:
            self._datasets[data] = read_dataset(data, "train")
        return self._datasets[data]

    def open(self, pool: Path, dataset: Dataset) -> TeacherPool:
        if pool not in self._pools:
            self._pools[pool] = open_pool(pool, dataset)
        return self._pools[pool]


def _pretrain(told: dict[str, Any], shelf: _Shelf) -> None:
    job = PretrainJob.model_validate(told)
    dataset = shelf.read(job.data)
    pretrain_body(job, keep_out(dataset)[0] if job.keep_out else dataset, choose_device(), None)


def _train_phase(told: dict[str, Any], shelf: _Shelf) -> None:
    job = PoolJob.model_validate(told)
    dataset = shelf.read(job.data)
    train_phase(job, keep_out(dataset)[0] if job.keep_out else dataset, choose_device())


def _train_student(told: dict[str, Any], shelf: _Shelf) -> None:
    job = StudentJob.model_validate(told)
    dataset = shelf.read(job.batches.data)
    teacher = job.teaching.teacher if job.teaching is not None else None
    pool = shelf.open(teacher.pool, dataset) if isinstance(teacher, PoolTeacher) else None
    images = keep_out(dataset)[0] if job.batches.keep_out else dataset
    detector = build_detector(job.arch, len(dataset.class_names))  # its weights become those of the first process
    train_student(job, detector, images, pool, choose_device())


HELP: dict[str, Callable[[dict[str, Any], _Shelf], None]] = {
    "pretraining": _pretrain,
    "pool": _train_phase,
    "student": _train_student,
}


def _help() -> None:
    """Train what the first process says, until it says that the run is over."""
    shelf = _Shelf()
    while (told := _listen()) != END:
        try:
            HELP[told["kind"]](told, shelf)
        except TrainingDiverged:
            continue  # so it has in the first process, which decides what follows


def _listen() -> dict[str, Any]:
    try:
        return _broadcast({})
    except RuntimeError as error:  # how torch says that a process has gone
        raise RunFailed("the first process of this run has ended; it says why") from error


def _broadcast(message: dict[str, Any]) -> dict[str, Any]:
    """The first process's message, in every process; JSON, so that nothing is unpickled."""
    content = torch.frombuffer(bytearray(json.dumps(message).encode()), dtype=torch.uint8)
    length = torch.tensor(len(content))
    dist.broadcast(length, src=0, group=_channel)
    if not current_world().is_first:
        content = torch.empty(int(length), dtype=torch.uint8)
    dist.broadcast(content, src=0, group=_channel)
    received: dict[str, Any] = json.loads(bytes(content.tolist()))
    return received
