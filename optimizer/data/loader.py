"""Batches of labelled images for the training of detectors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from deploy import Preprocess
from deploy.data import Dataset
from optimizer.data.augment import AUGMENTATIONS, augment
from optimizer.data.batches import SampleLoader
from optimizer.data.canvas import normalise_canvas, place_record
from optimizer.detectors.base import Truth
from optimizer.errors import InputError

__all__ = ["TrainLoader"]


class TrainLoader(SampleLoader):
    """Shuffled, augmented, normalised batches of a data set on one canvas, or on one of several for each batch."""

    def __init__(
        self,
        dataset: Dataset,
        preprocess: Preprocess | Sequence[Preprocess],
        *,
        batch_size: int,
        seed: int,
        augment: str = "none",
        workers: int | None = 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        if augment not in AUGMENTATIONS:
            raise InputError(f"unknown augmentation {augment!r}; there are: {', '.join(AUGMENTATIONS)}")
        canvases = (preprocess,) if isinstance(preprocess, Preprocess) else tuple(preprocess)
        source = _Records(dataset, canvases, augment)
        super().__init__(source, batch_size=batch_size, seed=seed, workers=workers, share=share)


class _Records:
    """Whole images of a data set with their objects."""

    def __init__(self, dataset: Dataset, canvases: Sequence[Preprocess], augmentation: str) -> None:
        self._records, self._canvases = dataset.records, canvases
        make = AUGMENTATIONS[augmentation]
        self._transforms = [make(preprocess) if make is not None else None for preprocess in canvases]

    def __len__(self) -> int:
        return len(self._records)

    @property
    def canvases(self) -> int:
        return len(self._canvases)

    def name(self, index: int) -> str:
        return str(self._records[index].path)

    def read(self, index: int, canvas: int, seed: int) -> tuple[Tensor, Truth]:
        preprocess, transform = self._canvases[canvas], self._transforms[canvas]
        image, truth = place_record(self._records[index], preprocess)
        if transform is not None:
            image, truth = augment(image, truth, transform, seed)
        return normalise_canvas(image, preprocess), truth
