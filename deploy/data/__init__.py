"""Labelled images on disk, in the layouts people have them: COCO JSON, Pascal VOC XML, YOLO txt."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from deploy.data.check import check_records, summarise_problems
from deploy.data.coco import find_coco
from deploy.data.images import read_image
from deploy.data.records import Dataset, Problem, Record
from deploy.data.voc import find_voc
from deploy.data.yolo import find_yolo
from deploy.errors import InputError

__all__ = ["Dataset", "Problem", "Record", "check_dataset", "read_dataset", "read_image", "summarise_problems"]

# Layout: the splits of a folder ("train", "val", "test", or one called "all"), each with what reads it.
LAYOUTS: dict[str, Callable[[Path], dict[str, Callable[[], Dataset]]]] = {
    "COCO": find_coco,
    "Pascal VOC": find_voc,
    "YOLO": find_yolo,
}
UNDERSTOOD = (
    "annotations/instances_{train,val}*.json, {train,valid}/_annotations.coco.json or one instances*.json (COCO), "
    "Annotations/*.xml (Pascal VOC), or data.yaml (YOLO)"
)
HOLD_OUT = 5  # one image in five


def read_dataset(path: Path | str, split: Literal["train", "val", "all"] = "train") -> Dataset:
    """The records of one split of a folder, or of all; its layout is detected.

    Nothing is decoded: what only shows in the pixels is found by `check_dataset`, and skipped in training. Without a
    validation split one image in five is held out, always the same ones, and a `Problem` of the data set says so.

    Raises:
        InputError: no such folder, no layout that is understood, or no usable image or object in it.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"there is no data set folder {folder}")
    splits = _find_splits(folder)
    if split == "all":
        dataset = _join(folder, splits)
    elif split in splits and (split == "val" or "val" in splits):
        dataset = splits[split]()
    elif "train" in splits or "all" in splits:
        dataset = _hold_out(folder, splits["train" if "train" in splits else "all"](), split)
    else:
        raise InputError(f"{folder} has no {split} split; found {', '.join(splits)}")
    if not dataset.count_objects():
        found = f"; problems: {summarise_problems(dataset.problems)}" if dataset.problems else ""
        number = len(dataset.records)
        raise InputError(f"{folder} has {number} usable images and no usable object in its {split} split{found}")
    return dataset


def check_dataset(path: Path | str) -> list[Problem]:
    """Every problem of a data set, after decoding every image."""
    dataset = read_dataset(path, "all")
    return [*dataset.problems, *check_records(dataset.records)]


def _find_splits(folder: Path) -> dict[str, Callable[[], Dataset]]:
    for find in LAYOUTS.values():
        if splits := find(folder):
            return splits
    listed = ", ".join(sorted(item.name for item in folder.iterdir())[:8]) or "nothing"
    raise InputError(f"{folder} is no data set that is understood: wanted {UNDERSTOOD}; found {listed}")


def _join(folder: Path, splits: dict[str, Callable[[], Dataset]]) -> Dataset:
    """All splits as one, with image ids of their own."""
    datasets = [read() for read in splits.values()]
    if len({dataset.class_names for dataset in datasets}) > 1:
        raise InputError(f"the splits of {folder} do not list the same classes")
    records = [record for dataset in datasets for record in dataset.records]
    return Dataset(
        datasets[0].class_names,
        tuple(replace(record, image_id=position) for position, record in enumerate(records)),
        tuple(problem for dataset in datasets for problem in dataset.problems),
    )


def _hold_out(folder: Path, dataset: Dataset, split: str) -> Dataset:
    """The part of an undivided data set that is `split`; a single image is both."""
    order = list(range(len(dataset.records)))
    random.Random(0).shuffle(order)
    held_out = set(order[: max(1, len(order) // HOLD_OUT)])
    chosen = [r for i, r in enumerate(dataset.records) if (i in held_out) == (split == "val") or len(order) == 1]
    text = f"there is no validation split; {len(held_out)} of {len(order)} images are held out for it"
    notice = Problem(folder, None, "no validation split", text, "held out")
    return replace(dataset, records=tuple(chosen), problems=(*dataset.problems, notice))
