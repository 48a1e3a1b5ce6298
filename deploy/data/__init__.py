"""Labelled images on disk, in the layouts people have them: COCO JSON, Pascal VOC XML, YOLO txt."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from deploy.data.coco import find_coco, read_coco
from deploy.data.records import Dataset, Problem, Record, read_image
from deploy.data.voc import find_voc, read_voc
from deploy.data.yolo import find_yolo, read_yolo
from deploy.errors import InputError

__all__ = ["Dataset", "Problem", "Record", "check_dataset", "read_dataset", "read_image"]

HOLD_OUT = 5  # one image in five is held out for validation where the data set has no validation split
UNDERSTOOD = (
    "annotations/instances_{train,val}*.json or {train,valid}/_annotations.coco.json (COCO), "
    "Annotations/*.xml (Pascal VOC), or data.yaml (YOLO)"
)


def read_dataset(path: Path | str, split: str) -> Dataset:
    """The "train", "val" or "all" records of a folder; its layout is detected.

    Nothing is decoded: problems that only show in the pixels are found by `check_dataset`, and skipped in training.
    Where there is no validation split, one image in five is held out, always the same ones.

    Raises:
        InputError: no such folder, no layout that is understood, or nothing usable in it.
    """
    assert split in ("train", "val", "all")
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"there is no data set folder {folder}")
    splits = _read_splits(folder)
    dataset = _join(splits) if split == "all" or len(splits) == 1 else splits[split]
    if split != "all" and len(splits) == 1:
        dataset = _hold_out(dataset, split)
    if not dataset.records:
        found = f"; first problem: {dataset.problems[0].text}" if dataset.problems else ""
        raise InputError(f"{folder} has no usable image for {split!r}{found}")
    if split == "train" and not any(len(record.labels) for record in dataset.records):
        raise InputError(f"{folder} has {len(dataset.records)} images for training but not one usable object")
    return dataset


def check_dataset(path: Path | str) -> list[Problem]:
    """Every problem of a data set, after decoding every image."""
    dataset = read_dataset(path, "all")
    problems = list(dataset.problems)
    for record in dataset.records:
        try:
            height, width = read_image(record.path).shape[:2]
        except InputError as error:
            problems.append(Problem(record.path, None, "unreadable image", str(error), "skipped"))
            continue
        if (width, height) != (record.width, record.height):
            text = f"the labels say {record.width}x{record.height}, the image is {width}x{height}"
            problems.append(Problem(record.path, None, "wrong size", text, "the image's own size is used"))
    return problems


def _read_splits(folder: Path) -> dict[str, Dataset]:
    """Every split that is there; image ids are unique over all of them."""
    coco = find_coco(folder)
    voc = {} if coco else find_voc(folder)
    yolo = {} if coco or voc else find_yolo(folder)
    if coco:
        splits = {split: read_coco(labels, images) for split, (labels, images) in coco.items()}
        if len({dataset.class_names for dataset in splits.values()}) > 1:
            raise InputError(f"the label files in {folder} do not list the same classes")
    elif voc:
        splits = {split: read_voc(folder, stems) for split, stems in voc.items()}
    elif yolo:
        splits = {split: read_yolo(folder, images) for split, images in yolo.items()}
    else:
        listed = ", ".join(sorted(item.name for item in folder.iterdir())[:8]) or "nothing"
        raise InputError(f"{folder} is no data set that is understood: wanted {UNDERSTOOD}; found {listed}")
    return splits


def _join(splits: dict[str, Dataset]) -> Dataset:
    datasets = list(splits.values())
    records = [record for dataset in datasets for record in dataset.records]
    return Dataset(
        datasets[0].class_names,
        tuple(replace(record, image_id=position) for position, record in enumerate(records)),
        tuple(problem for dataset in datasets for problem in dataset.problems),
    )


def _hold_out(dataset: Dataset, split: str) -> Dataset:
    order = list(range(len(dataset.records)))
    random.Random(0).shuffle(order)
    held_out = set(order[: max(1, len(order) // HOLD_OUT)]) if len(order) > 1 else set()
    chosen = [r for i, r in enumerate(dataset.records) if (i in held_out) == (split == "val") or len(order) == 1]
    return replace(dataset, records=tuple(chosen))
