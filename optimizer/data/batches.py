"""Batches of a source of samples: any epoch, from any step, always the same.

A loader knows samples by number alone; the source reads one when it is wanted.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from optimizer.detectors.base import Truth
from optimizer.errors import InputError, RunFailed
from optimizer.seeds import derive_seed

__all__ = ["SampleLoader", "Source"]

log = logging.getLogger("detopt")

NO_SHARED_MEMORY = (
    "the processes that read images ran out of shared memory (/dev/shm; a container has 64 MB if nothing is said): "
    "give it more, as by docker run --shm-size=2g, or read in this process by --workers 0; then resume the run"
)


MOST_WORKERS = 8


class Source(Protocol):
    """Samples by their number. It holds no pixels: each is read when it is asked for."""

    def __len__(self) -> int: ...

    @property
    def canvases(self) -> int:
        """How many canvases there are to choose from; samples of one canvas have one size."""
        ...

    def name(self, index: int) -> str:
        """What a message calls a sample, such as its file."""
        ...

    def read(self, index: int, canvas: int, seed: int) -> tuple[Tensor, Truth]:
        """The network's input (3, H, W) float32 on one of the canvases, and what it shows; decided by the arguments.

        Raises:
            InputError: it cannot be read.
        """
        ...


class SampleLoader:
    """Shuffled batches of a source.

    A sample depends on (seed, epoch, image) alone, so the number of workers and a restart in the middle change nothing.
    An image that cannot be read is replaced by the next one of the source that can; one warning says so, and
    `unreadable` counts them. Workers live from epoch to epoch: while one ends they load the next one's first batches.

    Where a source has several canvases, each batch is on one of them, drawn for that step.

    `workers` are processes that prepare images; None is as many as a GPU may need, and none where there is no GPU.

    Where several processes train together, `share` is (rank, how many they are): the batches are those of one process
    with the same `batch_size`, and the ranks divide the images of each among themselves.
    """

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int,
        seed: int,
        workers: int | None = 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        rank, world = share
        assert len(source) and batch_size > 0 and 0 <= rank < world
        if batch_size % world or len(source) < world:
            raise InputError(
                f"a batch of {batch_size} of {len(source)} images cannot be shared by {world} processes: "
                f"choose a batch size (of all processes together) that {world} divides"
            )
        self._source = source
        self._batch_size = min(batch_size, len(source) // world * world)
        self._rank, self._world = rank, world
        self._seed, self._workers = seed, _count_workers(workers)
        self._unreadable: set[int] = set()
        self._ahead: tuple[tuple[int, int], Iterator[_Batch]] | None = None  # batches opened, and the next one's place

    def __len__(self) -> int:
        """Steps an epoch; the images that do not fill a last batch wait for another epoch."""
        return len(self._source) // self._batch_size

    @property
    def unreadable(self) -> int:
        """Images met so far that cannot be read."""
        return len(self._unreadable)

    def epoch(self, number: int, start_step: int = 0) -> Iterator[tuple[Tensor, list[Truth]]]:
        """(images (B, 3, H, W) float32, truths) of one epoch, from `start_step` on.

        Raises:
            InputError: not one image of the source can be read.
        """
        if start_step >= len(self):
            return
        position, stream = self._ahead or (None, None)
        self._ahead = None
        if stream is None or position != (number, start_step):
            stream = self._open(number, start_step)
        for _ in range(start_step, len(self)):
            try:
                batch = next(stream)
            except RuntimeError as error:
                said = f"{error} {error.__cause__} {error.__context__}"  # torch has the reason in either
                if "Bus error" in said or "shared memory" in said:
                    raise RunFailed(NO_SHARED_MEMORY) from error
                raise
            self._count_unreadable(set(batch.unreadable))
            if batch.images is None:
                first = self._source.name(0)
                raise InputError(f"not one of {len(self._source)} images can be read (the first is {first})")
            yield batch.images, batch.truths
        self._ahead = (number + 1, 0), stream

    def _open(self, number: int, start_step: int) -> Iterator[_Batch]:
        """The batches of this epoch from this step on, and of all later ones: workers go on over the border."""
        loader = DataLoader(
            _Samples(self._source),
            batch_sampler=_Schedule(self, number, start_step),
            collate_fn=_collate,
            num_workers=self._workers,
            pin_memory=self._workers > 0 and torch.cuda.is_available(),
            generator=torch.Generator(),  # without one the loader would draw from the global generator
        )
        return iter(loader)

    def _list_keys(self, number: int) -> list[list[_Key]]:
        """Of each batch of an epoch the samples that are this rank's."""
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "order", number))
        order = torch.randperm(len(self._source), generator=generator).tolist()
        seed = derive_seed(self._seed, "augment", number)
        batches = []
        for step in range(len(self)):
            share = order[step * self._batch_size + self._rank : (step + 1) * self._batch_size : self._world]
            canvas = derive_seed(self._seed, "canvas", number, step) % self._source.canvases
            batches.append([_Key(index, canvas, seed) for index in share])
        return batches

    def _count_unreadable(self, indices: set[int]) -> None:
        if indices and not self._unreadable:
            name = self._source.name(min(indices))
            log.warning("%s and perhaps more images cannot be read; others take their place", name)
        self._unreadable |= indices


class _Key(NamedTuple):
    """What a sample depends on: image, canvas (their numbers) and the seed of the epoch's augmentation."""

    image: int
    canvas: int
    seed: int


class _Schedule:
    """The keys of all batches from a step of an epoch on, without end."""

    def __init__(self, loader: SampleLoader, number: int, start_step: int) -> None:
        self._loader, self._number, self._start_step = loader, number, start_step

    def __iter__(self) -> Iterator[list[_Key]]:
        yield from self._loader._list_keys(self._number)[self._start_step :]
        for number in count(self._number + 1):
            yield from self._loader._list_keys(number)


class _Batch(NamedTuple):
    """Images (B, 3, H, W), None where no image of the source can be read; `unreadable` were met on the way."""

    images: Tensor | None
    truths: list[Truth]
    unreadable: tuple[int, ...]


class _Sample(NamedTuple):
    """A training image; `image` None where no image of the source can be read. `unreadable` were met on the way."""

    image: Tensor | None
    truth: Truth
    unreadable: tuple[int, ...]


class _Samples(TorchDataset[_Sample]):
    """Samples by their keys."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, key: _Key) -> _Sample:
        index, canvas, seed = key
        own = derive_seed(seed, index)
        unreadable: list[int] = []
        for offset in range(len(self._source)):
            candidate = (index + offset) % len(self._source)
            try:
                return _Sample(*self._source.read(candidate, canvas, own), tuple(unreadable))
            except InputError:
                unreadable.append(candidate)
        return _Sample(None, Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)), tuple(unreadable))


def _count_workers(asked: int | None) -> int:
    """Of the processes of a training together, where nobody says how many."""
    if asked is not None:
        return asked
    return min(MOST_WORKERS, os.cpu_count() or 1) if torch.cuda.is_available() else 0


def _collate(samples: list[_Sample]) -> _Batch:
    """One tensor of a batch's images, made where they are loaded."""
    images = [sample.image for sample in samples if sample.image is not None]
    unreadable = {index for sample in samples for index in sample.unreadable}
    batch = _Batch(
        torch.stack(images) if len(images) == len(samples) else None,
        [sample.truth for sample in samples],
        tuple(sorted(unreadable)),
    )
    if get_worker_info() is not None:
        _share(batch)
    return batch


def _share(batch: _Batch) -> None:
    """Put a batch into shared memory where it is made: an error is then heard of.

    Handing it over would do the same, but in a thread whose errors nobody hears: the training would wait for ever.
    """
    tensors = [tensor for truth in batch.truths for tensor in (truth.boxes_xyxy, truth.labels)]
    for tensor in (*tensors, batch.images):
        if tensor is not None and tensor.numel():
            tensor.share_memory_()
