"""The images of a run: read once, checked, and remembered, so that a resumed run notices when they change."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from deploy.data import (
    describe_splits,
    find_unlabelled,
    keep_fitting,
    read_dataset,
    summarise_problems,
    warn_of_problems,
    warn_of_shared,
)
from deploy.files import hash_file
from optimizer.config import RunConfig
from optimizer.data.shapes import write_shapes
from optimizer.data.splits import Splits
from optimizer.errors import InputError
from optimizer.progress import RunProgress
from optimizer.store import DataSummary
from optimizer.store.run_store import RunStore

__all__ = ["describe_data", "read_data", "read_splits", "say_images"]

SAMPLED = 64  # pictures of each split, or a few more


def read_splits(folder: Path, keeps: bool = False) -> Splits:
    """Training and validation images of a folder, some of the former kept out of training if the run `keeps` some.

    Raises:
        InputError: they are of different classes, or cannot be read.
    """
    train_data, val_data = read_dataset(folder, "train"), keep_fitting(read_dataset(folder, "val"))
    if train_data.class_names != val_data.class_names:
        raise InputError(
            f"{folder}: training and validation list different classes: {', '.join(train_data.class_names)} and "
            f"{', '.join(val_data.class_names)}"
        )
    unlabelled = find_unlabelled(folder, train_data, val_data)
    train_data = replace(train_data, problems=(*train_data.problems, *unlabelled))
    return Splits.divide(train_data, val_data, keeps)


def read_data(store: RunStore, config: RunConfig, splits: Splits | None = None) -> Splits:
    """The images of a run, generated first if need be, unless they are read already.

    Raises:
        InputError: they changed since the run began.
    """
    folder = config.data
    if folder is None:
        shapes = config.shapes
        folder = write_shapes(
            store.folder / "data", train=shapes.train, val=shapes.val, size=shapes.size, seed=config.seed
        )
    splits = splits or read_splits(folder, config.keeps_images)
    found, known = describe_data(splits), store.data
    if known is None:
        store.data = found
    elif not known.is_same(found):
        what = f"was {known}; is {found}" if known[:3] != found[:3] else "other labels or pictures under the same names"
        raise InputError(f"the data in {folder} changed since this run began: {what}; start a new run for them")
    return splits


def describe_data(splits: Splits) -> DataSummary:
    """Class names, how many images there are to train and to validate on, and what they are known by."""
    counts = (len(splits.train.records), len(splits.val.records))
    return DataSummary(tuple(splits.train.class_names), *counts, _fingerprint(splits))


def _fingerprint(splits: Splits) -> str:
    """SHA-256 of every label, and of the content of some pictures, the same ones each time."""
    digest = hashlib.sha256()
    for dataset in (splits.train, splits.val):
        for index, record in enumerate(dataset.records):
            digest.update(f"{record.path.name} {record.width} {record.height}".encode(errors="backslashreplace"))
            digest.update(record.boxes_xyxy.tobytes() + record.labels.tobytes())
            if not record.counted.all():  # crowds and difficult objects
                digest.update(record.crowd.tobytes() + record.counted.tobytes())
            if index % max(1, len(dataset.records) // SAMPLED) == 0:
                digest.update((hash_file(record.path) if record.path.is_file() else "none").encode())
    return digest.hexdigest()


def say_images(splits: Splits, progress: RunProgress) -> None:
    """Tell the person what there is, what is doubtful, and what training will skip or clip."""
    progress.say(describe_splits(splits.train, splits.val))
    kept, images = len(splits.kept.records), len(splits.train.records)
    if kept == images:
        progress.say(
            f"warning: none of {images} training images can be kept out without losing a class or every object, so "
            "models are judged by images that they are trained on"
        )
    elif kept:
        progress.say(f"{kept} of the {images} training images are kept out, to judge by, until the last training")
    for warning in warn_of_shared(splits.train, splits.val):
        progress.say(f"warning: {warning}")
    for dataset, name in ((splits.train, "training"), (splits.val, "validation")):
        for warning in warn_of_problems(dataset):
            progress.say(f"warning: {name} data: {warning}")
        if dataset.problems:
            progress.say(f"{name} data: {summarise_problems(dataset.problems)} (see: optimize data check)")
