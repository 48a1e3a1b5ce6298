"""Labelled images on disk, in the layouts people have them: COCO JSON, Pascal VOC XML, YOLO txt, CVAT XML.

| file | holds |
|---|---|
| `text`, `stream`, `values` | text in any encoding, JSON read in pieces, numbers and booleans as files have them |
| `find` | the files of a folder, and which of them a name from another machine means |
| `splits`, `classes` | what is train, val or test; class names that are each there once and the same in all splits |
| `coco`, `voc`, `yolo`, `cvat` | a layout each: `find_...(tree)` gives its name and a reader of each split |
| `coco_content`, `yolo_labels` | what a COCO file and YOLO's label files say |
| `label_files`, `yolo_rows` | which label file is of which image; whether YOLO's long lines are keypoints or outlines |
| `coco_names` | COCO's own classes and super-categories |
| `clean` | what label files state becomes records, or problems; all objects at once |
| `images`, `exif` | image files to pixels |
| `check` | what only shows in the pixels |

A layout is one function and one line in `LAYOUTS`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Optional, Tuple

from deploy.data.check import (
    check_records,
    find_links_out,
    find_unlisted,
    keep_fitting,
    summarise_problems,
    warn_of_problems,
    warn_of_shared,
)
from deploy.data.coco import find_coco, find_other_coco, name_coco
from deploy.data.cvat import find_cvat
from deploy.data.find import Tree
from deploy.data.images import read_image
from deploy.data.records import Dataset, ImageId, Problem, Record
from deploy.data.voc import find_voc, find_voc_beside
from deploy.data.yolo import find_yolo, find_yolo_without_description, name_list, name_yolo
from deploy.errors import InputError

__all__ = [
    "Dataset",
    "ImageId",
    "Problem",
    "Record",
    "check_dataset",
    "describe_splits",
    "find_unlabelled",
    "keep_fitting",
    "read_dataset",
    "read_image",
    "summarise_problems",
    "warn_of_problems",
    "warn_of_shared",
]

Layout = Tuple[str, "dict[str, Callable[[], Dataset]]"]
# In this order: first those that a folder's names tell, then those that its files' content tells.
LAYOUTS: tuple[Callable[[Tree], Optional[Layout]], ...] = (
    find_coco,
    find_voc,
    find_yolo,
    find_cvat,
    find_other_coco,
    find_voc_beside,
    find_yolo_without_description,
)
NAMED: dict[str, Callable[[Tree, str], Layout]] = {  # by the ending of a file that is named itself
    ".json": name_coco,
    ".yaml": name_yolo,
    ".yml": name_yolo,
    ".txt": name_list,
}
UNDERSTOOD = (
    "annotations/instances_{train,val}*.json, {train,valid}/_annotations.coco.json or another COCO JSON; "
    "Annotations/*.xml or XML beside the images (Pascal VOC); data.yaml or classes.txt (YOLO); annotations.xml (CVAT)"
)
HOLD_OUT = 5  # one image in five
NESTED = 3  # folders that each hold nothing but the next one


def read_dataset(path: Path | str, split: str = "train") -> Dataset:
    """The records of one split ("train", "val", "test") of a folder or label file, or of "all" of it.

    Nothing is decoded: what only shows in the pixels is found by `check_dataset`, and skipped in training. Without a
    validation split one image in five is held out of the training split, always the same ones, and a `Problem` of the
    data set says so; a test split is read only where it is asked for.

    Raises:
        InputError: no such folder, no layout that is understood, or no usable image or object in it.
    """
    tree, layout, splits = _open(Path(path))
    if split == "all":
        dataset = _join(splits)
    elif split in splits and (split in ("val", "test") or "val" in splits):
        dataset = splits[split]()
    elif split != "test" and ("train" in splits or "all" in splits):
        dataset = _hold_out(tree.root, splits, split)
    else:
        raise InputError(f"{path} has no {split} split; found {', '.join(splits)}")
    dataset = replace(dataset, layout=_describe(layout, splits))
    if not dataset.count_objects():
        found = f"; problems: {summarise_problems(dataset.problems)}" if dataset.problems else ""
        number = len(dataset.records)
        raise InputError(
            f"{path} ({layout}) has {number} usable images and no usable object in its {split} split{found}"
        )
    return dataset


def check_dataset(path: Path | str, report: Callable[[str], None] = lambda line: None) -> list[Problem]:
    """Every problem of a data set, after decoding every image; progress goes to `report`."""
    tree, _, splits = _open(Path(path))
    dataset = _join(splits)
    listed = [*dataset.problems, *find_unlisted(tree, [dataset]), *find_links_out(tree)]
    return [*listed, *check_records(dataset.records, report)]


def find_unlabelled(path: Path | str, train: Dataset, val: Dataset) -> list[Problem]:
    """The images of a data set that no label file of any split speaks of; one problem for each folder."""
    tree, _, splits = _open(Path(path))
    return find_unlisted(tree, [train, val, *(splits[split]() for split in splits if split == "test")])


def describe_splits(train: Dataset, val: Dataset) -> str:
    """One line that says what a data set was taken for: "COCO; train 300, val 60 held out of train, 80 classes"."""
    held_out = f" held out of {val.held_out}" if val.held_out else ""
    classes = f"{len(train.class_names)} class" + ("" if len(train.class_names) == 1 else "es")
    text = f"{train.layout}; train {len(train.records)}, val {len(val.records)}{held_out}, {classes}"
    used = {int(label) for dataset in (train, val) for record in dataset.records for label in record.labels}
    trained = {int(label) for record in train.records for label in record.labels}
    idle = [name for label, name in enumerate(train.class_names) if label not in used]
    unseen = [name for label, name in enumerate(train.class_names) if label in used - trained]
    if idle:
        text += f"; without an object: {_list_some(idle)}"
    if unseen:
        text += f"; only in validation: {_list_some(unseen)}"
    return text


def _open(path: Path) -> tuple[Tree, str, dict[str, Callable[[], Dataset]]]:
    if path.is_file():
        name = NAMED.get(path.suffix.lower())
        if name is None:
            raise InputError(f"{path} is not a data set: wanted a folder, or a {', '.join(NAMED)} of one")
        folder = path.parent.parent if path.parent.name.lower() in ("annotations", "labels") else path.parent
        tree = Tree(folder)
        return tree, *name(tree, path.relative_to(folder).as_posix())
    if not path.is_dir():
        raise InputError(f"there is no data set folder {path}")
    found = _recognise(path)
    if found is not None:
        return found
    listed = ", ".join(sorted(item.name for item in path.iterdir())[:8]) or "nothing"
    raise InputError(f"{path} is not a data set of a known layout: wanted {UNDERSTOOD}; found {listed}")


def _recognise(path: Path, deeper: int = NESTED) -> tuple[Tree, str, dict[str, Callable[[], Dataset]]] | None:
    """Of a folder, or of the only folder in it: unpacking may leave one in another."""
    tree = Tree(path)
    for find in LAYOUTS:
        found = find(tree)
        if found:
            return tree, *found
    inner = [name for name in tree.folders if name and "/" not in name]
    return _recognise(path / inner[0], deeper - 1) if deeper and len(inner) == 1 else None


def _describe(layout: str, splits: dict[str, Callable[[], Dataset]]) -> str:
    return layout + ("; its test split is not used" if "test" in splits else "")


def _join(splits: dict[str, Callable[[], Dataset]]) -> Dataset:
    """All splits as one, with image ids of their own."""
    datasets = [read() for read in splits.values()]
    assert len({dataset.class_names for dataset in datasets}) == 1, "readers give all splits the same classes"
    records = [record for dataset in datasets for record in dataset.records]
    return Dataset(
        datasets[0].class_names,
        tuple(replace(record, image_id=position) for position, record in enumerate(records)),
        tuple(dict.fromkeys(problem for dataset in datasets for problem in dataset.problems)),
        supercategories=datasets[0].supercategories,
    )


def _hold_out(folder: Path, splits: dict[str, Callable[[], Dataset]], split: str) -> Dataset:
    """The part of an undivided data set that is `split`; a single image is both."""
    source = "train" if "train" in splits else "all"
    dataset = splits[source]()
    order = list(range(len(dataset.records)))
    random.Random(0).shuffle(order)
    held_out = set(order[: max(1, len(order) // HOLD_OUT)])
    useful = [i for i in order if dataset.records[i].counted.any()]
    if len(useful) > 1:  # both parts get an object
        held_out |= {useful[0]} if not held_out.intersection(useful) else set()
        held_out -= {useful[-1]} if held_out.issuperset(useful) else set()
    chosen = [r for i, r in enumerate(dataset.records) if (i in held_out) == (split == "val") or len(order) == 1]
    text = f"there is no validation split; {len(held_out)} of {len(order)} images are held out for it"
    notice = Problem(folder, None, "no validation split", text, "held out")
    return replace(
        dataset, records=tuple(chosen), problems=(*dataset.problems, notice), held_out="train" if split == "val" else ""
    )


def _list_some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
