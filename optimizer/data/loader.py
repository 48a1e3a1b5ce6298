"""Batches for training: any epoch, from any step, always the same."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from deploy import Preprocess
from deploy.data import Dataset
from deploy.errors import InputError
from optimizer.data.augment import AUGMENTATIONS, augment
from optimizer.data.canvas import normalise_canvas, place_record
from optimizer.detectors.base import Truth
from optimizer.seeds import derive_seed

__all__ = ["TrainLoader"]

log = logging.getLogger("detopt")

Sample = tuple[Tensor, Truth]


class TrainLoader:
    """Shuffled, augmented, normalised batches of a data set on one canvas.

    A sample depends on (seed, epoch, image) alone, so the number of workers and a restart in the middle change nothing.
    Images that cannot be read are left out of their batch and counted in one warning. Nothing is kept between batches.
    """

    def __init__(
        self,
        dataset: Dataset,
        preprocess: Preprocess,
        *,
        batch_size: int,
        seed: int,
        augment: str = "none",
        workers: int = 0,
    ) -> None:
        if augment not in AUGMENTATIONS:
            raise InputError(f"unknown augmentation {augment!r}; there are: {', '.join(AUGMENTATIONS)}")
        self._dataset, self._preprocess = dataset, preprocess
        self._batch_size = min(batch_size, len(dataset.records))
        self._seed, self._augment, self._workers = seed, augment, workers
        self._unreadable: set[int] = set()

    def __len__(self) -> int:
        """Steps an epoch; the images that do not fill a last batch wait for another epoch."""
        return len(self._dataset.records) // self._batch_size

    def epoch(self, number: int, start_step: int = 0) -> Iterator[tuple[Tensor, list[Truth]]]:
        """(images (B, 3, H, W) float32, truths) of one epoch, from `start_step` on."""
        generator = torch.Generator().manual_seed(derive_seed(self._seed, number))
        order = torch.randperm(len(self._dataset.records), generator=generator).tolist()
        batches = [
            order[step * self._batch_size : (step + 1) * self._batch_size] for step in range(start_step, len(self))
        ]
        samples = _Samples(self._dataset, self._preprocess, self._augment, derive_seed(self._seed, number))
        # The loader would draw its own base seed from the global generator; given one, it leaves that alone.
        loader = DataLoader(
            samples,
            batch_sampler=batches,
            collate_fn=partial(list),
            num_workers=self._workers,
            generator=torch.Generator().manual_seed(0),
        )
        for batch, indices in zip(loader, batches):
            good = [sample for sample in batch if sample is not None]
            self._count_unreadable(index for index, sample in zip(indices, batch) if sample is None)
            if not good:
                raise InputError(f"not one of {len(indices)} images in a row can be read; see `optimize data check`")
            yield torch.stack([image for image, _ in good]), [truth for _, truth in good]

    def _count_unreadable(self, indices: Iterator[int]) -> None:
        new = set(indices) - self._unreadable
        if new and not self._unreadable:
            log.warning("images that cannot be read are left out (`optimize data check` lists them)")
        self._unreadable |= new


class _Samples(TorchDataset[Sample | None]):
    """One epoch's samples by index; None for an image that cannot be read."""

    def __init__(self, dataset: Dataset, preprocess: Preprocess, augmentation: str, seed: int) -> None:
        self._dataset, self._preprocess, self._seed = dataset, preprocess, seed
        make = AUGMENTATIONS[augmentation]
        self._transform = make() if make is not None else None

    def __len__(self) -> int:
        return len(self._dataset.records)

    def __getitem__(self, index: int) -> Sample | None:
        try:
            canvas, truth = place_record(self._dataset.records[index], self._preprocess)
        except InputError:
            return None
        if self._transform is not None:
            canvas, truth = augment(canvas, truth, self._transform, derive_seed(self._seed, index))
        return normalise_canvas(canvas, self._preprocess), truth
