"""COCO JSON: one label file a split, with the images in a folder named after the split."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from deploy.data.clean import RawObject, RawRecord, clean_records, inside
from deploy.data.records import Dataset, Problem
from deploy.errors import InputError

__all__ = ["find_coco"]

BROKEN = (KeyError, TypeError, ValueError, OverflowError)  # what a wrong entry raises when it is taken apart
PROBED = 20  # images looked for when the image folder is found


def find_coco(folder: Path) -> dict[str, Callable[[], Dataset]]:
    """Reader of each split: instances_{train,val}*.json, or Roboflow's {train,valid,test}/_annotations.coco.json."""
    found: dict[str, Callable[[], Dataset]] = {}
    for split, written in (("train", "train"), ("val", "valid"), ("test", "test")):
        labels = sorted(folder.glob(f"annotations/instances_{split}*.json"))
        labels += [path for path in (folder / written / "_annotations.coco.json",) if path.is_file()]
        if len(labels) > 1:
            raise InputError(f"{folder} has several label files for {split}: {', '.join(map(str, labels))}; keep one")
        if labels:
            found[split] = partial(read_coco, folder, labels[0])
    alone = sorted({*folder.glob("annotations/instances*.json"), *folder.glob("instances*.json")})
    if not found and len(alone) == 1:
        found["all"] = partial(read_coco, folder, alone[0])
    return found


def read_coco(folder: Path, labels: Path) -> Dataset:
    """All records of one label file. Classes are ordered by category id; crowds are kept, marked."""
    content = _load(labels)
    try:
        categories = sorted(content["categories"], key=lambda category: int(category["id"]))
        names = tuple(str(category["name"]) for category in categories)
        index = {int(category["id"]): position for position, category in enumerate(categories)}
        listed, annotations = list(content["images"]), list(content.get("annotations", ()))
    except BROKEN as error:
        raise InputError(f"{labels} is JSON but not COCO: {error!r}") from error
    problems: list[Problem] = []

    def skip(position: int, kind: str, text: str) -> None:
        problems.append(Problem(labels, position, kind, text, "skipped"))

    images: dict[int, tuple[str, tuple[int, int] | None]] = {}
    for position, entry in enumerate(listed):
        try:
            identifier = int(entry["id"])
            size = (int(entry["width"]), int(entry["height"])) if "width" in entry and "height" in entry else None
            if identifier in images:
                skip(position, "duplicate image", f"there is another image of id {identifier}")
            else:
                images[identifier] = (str(entry["file_name"]), size)
        except BROKEN as error:
            skip(position, "broken image entry", repr(error))
    objects: dict[int, list[RawObject]] = {identifier: [] for identifier in images}
    for position, entry in enumerate(annotations):
        try:
            x, y, width, height = (float(value) for value in entry["bbox"])
            label = index.get(int(entry["category_id"]))
            name = str(entry["category_id"]) if label is None else names[label]
            crowd = bool(entry.get("iscrowd", 0))
            objects[int(entry["image_id"])].append(
                RawObject(position, (x, y, x + width, y + height), label, name, crowd)
            )
        except BROKEN as error:
            skip(position, "broken annotation", f"missing, of no image or no number: {error!r}")
    raws = []
    place = _find_images(folder, labels, [name for name, _ in images.values()])
    for position, (identifier, (name, size)) in enumerate(images.items()):
        path = inside(place, name)
        if path is None:
            skip(position, "path outside", f"image {name!r} lies outside {place}")
        else:
            raws.append(RawRecord(identifier, path, labels, size, tuple(objects[identifier])))
    records, found = clean_records(raws)
    return Dataset(names, records, (*problems, *found))


def _find_images(folder: Path, labels: Path, names: list[str]) -> Path:
    """The folder that file names are relative to: the first usual one that holds one of the first images."""
    name = labels.stem[len("instances") :].lstrip("_")
    split = next((split for split in ("train", "val", "test") if name.startswith(split)), name)
    usual = (name, split, f"images/{name}", f"images/{split}", "images", ".")
    places = [labels.parent] if labels.name == "_annotations.coco.json" else [folder / place for place in usual]
    for place in places:
        paths = (inside(place, name) for name in names[:PROBED])
        if any(path is not None and path.is_file() for path in paths):
            return place
    return next(place for place in (*places, folder) if place.is_dir())


def _load(labels: Path) -> dict[str, Any]:
    try:
        content = json.loads(labels.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{labels} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{labels} is JSON but not COCO: the top is no object")
    return content
