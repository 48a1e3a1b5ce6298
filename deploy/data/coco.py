"""COCO JSON: `annotations/instances_{train,val}*.json`, or `{train,valid}/_annotations.coco.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deploy.data.records import Dataset, Problem, RawObject, RawRecord, clean_records, inside
from deploy.errors import InputError

__all__ = ["find_coco", "read_coco"]


def find_coco(folder: Path) -> dict[str, tuple[Path, Path]]:
    """(label file, image folder) of each split that is there."""
    found: dict[str, tuple[Path, Path]] = {}
    for split, other in (("train", "train"), ("val", "valid")):
        for labels in sorted(folder.glob(f"annotations/instances_{split}*.json")):
            name = labels.stem.removeprefix("instances_")
            images = next((f for f in (folder / name, folder / split, folder / "images" / name) if f.is_dir()), folder)
            found.setdefault(split, (labels, images))
        labels = folder / other / "_annotations.coco.json"
        if labels.is_file():
            found.setdefault(split, (labels, labels.parent))
    return found


def read_coco(labels: Path, images: Path) -> Dataset:
    """All records of one label file. Classes are ordered by category id."""
    content = _load(labels)
    try:
        categories = sorted(content["categories"], key=lambda category: category["id"])
        index = {category["id"]: position for position, category in enumerate(categories)}
        names = tuple(str(category["name"]) for category in categories)
        listed = content["images"]
        annotations = content.get("annotations", [])
    except (KeyError, TypeError) as error:
        raise InputError(f"{labels} is JSON but not COCO: {error!r} is missing") from error

    problems: list[Problem] = []
    objects: dict[Any, list[RawObject]] = {}
    for position, annotation in enumerate(annotations):
        try:
            x, y, width, height = (float(value) for value in annotation["bbox"])
            category = annotation["category_id"]
            objects.setdefault(annotation["image_id"], []).append(
                RawObject(
                    (x, y, x + width, y + height),
                    index.get(category),
                    names[index[category]] if category in index else str(category),
                    bool(annotation.get("iscrowd", 0)),
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            problems.append(Problem(labels, position, "broken annotation", f"{error!r}", "skipped"))
    raws = []
    for position, image in enumerate(listed):
        try:
            name, identifier = str(image["file_name"]), image["id"]
            size = (int(image["width"]), int(image["height"])) if "width" in image and "height" in image else None
            path = inside(images, name)
        except (KeyError, TypeError, ValueError) as error:
            problems.append(Problem(labels, position, "broken image entry", f"{error!r}", "skipped"))
            continue
        if path is None or not isinstance(identifier, int):
            problems.append(Problem(labels, position, "bad image entry", f"{name!r} (id {identifier!r})", "skipped"))
            continue
        raws.append(RawRecord(identifier, path, labels, size, tuple(objects.get(identifier, ()))))
    records, found = clean_records(raws)
    return Dataset(names, tuple(records), tuple(problems + found))


def _load(labels: Path) -> dict[str, Any]:
    try:
        content = json.loads(labels.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{labels} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{labels} is JSON but not COCO: the top is no object")
    return content
