"""Which images of a run are for what; some training images are kept out, to judge by while the search goes on."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace

from deploy.data import Dataset, Record

__all__ = ["Splits", "count_kept", "keep_out"]

KEPT_SHARE = 0.15
KEPT_AT_LEAST, KEPT_AT_MOST = 24, 128


@dataclass(frozen=True)
class Splits:
    """The images of a run.

    Attributes:
        train: every training image; the last training of a run is on all of them.
        fit: the part that is trained on until then.
        kept: the rest, which is not trained on until then; without a record where nothing is kept out.
        val: the validation images, which exported models are judged by.
    """

    train: Dataset
    fit: Dataset
    kept: Dataset
    val: Dataset

    @classmethod
    def divide(cls, train: Dataset, val: Dataset, keeps: bool = False) -> Splits:
        """All training images are trained on, unless the run keeps some out."""
        fit, kept = keep_out(train) if keeps else (train, train.first(0))
        return cls(train, fit, kept, val)


def count_kept(images: int) -> int:
    """How many of so many training images are kept out: about 15 %, at least 24, at most 128; not above a third."""
    return min(max(round(KEPT_SHARE * images), KEPT_AT_LEAST), KEPT_AT_MOST, max(images // 3, 1))


def keep_out(train: Dataset) -> tuple[Dataset, Dataset]:
    """The images to train on and those kept out, which follow from the data set alone.

    So every process, and every run that takes over another's base, keeps the same ones out. A class that two images
    have is in both parts as far as the number allows, the rarest first; one that a single image has is trained on.
    Where this leaves no object to judge by, both parts are the whole.
    """
    order = list(range(len(train.records)))
    random.Random(0).shuffle(order)
    classes = [_list_classes(record) for record in train.records]
    trained = Counter(label for found in classes for label in found)  # images with each class
    kept: set[int] = set()

    def keep_first(candidates: Iterable[int]) -> None:
        for index in candidates:
            if index not in kept and all(trained[label] > 1 for label in classes[index]):
                kept.add(index)
                trained.subtract(classes[index])
                return

    for label in sorted(trained, key=lambda label: (trained[label], label)):
        if len(kept) < count_kept(len(order)) and not any(label in classes[index] for index in kept):
            keep_first(index for index in order if label in classes[index])
    if not kept:
        return train, train
    for index in order:
        if len(kept) < count_kept(len(order)):
            keep_first([index])
    return _choose(train, set(order) - kept), _choose(train, kept)


def _choose(dataset: Dataset, indices: Set[int]) -> Dataset:
    records = (record for index, record in enumerate(dataset.records) if index in indices)
    return replace(dataset, records=tuple(records))


def _list_classes(record: Record) -> frozenset[int]:
    """The classes whose average precision the image counts for."""
    return frozenset(record.labels[record.counted].tolist())
