"""COCO JSON: one label file a split, with the images in a folder named after the split.

Ids are keys and nothing else: numbers, text, huge or negative. Classes are ordered by id where ids are numbers, by name
of the id otherwise. The files are read piece by piece, so that memory holds the records and not the JSON.
"""

from __future__ import annotations

import posixpath
from array import array
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deploy.data.classes import agree_on_classes, require_unique
from deploy.data.clean import RawImage, RawObjects, clean_records
from deploy.data.find import Tree, describe_moved, loosen
from deploy.data.records import Dataset, ImageId, Problem
from deploy.data.splits import SPLITS, split_of, split_of_parts
from deploy.data.stream import find_arrays, iterate_json
from deploy.data.values import as_number, as_size, as_truth
from deploy.errors import InputError

__all__ = ["find_coco", "find_other_coco", "name_coco"]

SECTIONS = ("images", "annotations", "categories")
BROKEN = (KeyError, TypeError, ValueError, OverflowError, AttributeError)  # what a wrong entry raises when it is read
OTHER_TASKS = ("captions", "person_keypoints", "panoptic", "stuff", "image_info")  # files beside COCO's instances
NO_PARENT = (None, "", "none")
PLAIN_TRUTH = {None: 0, 0: 0, 1: 1}  # also false and true
BATCH = 4096  # objects that are taken apart together
UNLISTED, MISSING = -1, -2  # instead of the row of an image
PROBED = 20  # images that are looked for when their folder is


class Category(NamedTuple):
    """One entry of `categories`."""

    key: Hashable
    name: str
    parent: Any


def find_coco(tree: Tree) -> tuple[str, dict[str, Callable[[], Dataset]]] | None:
    """Label files called as COCO's or Roboflow's: instances*.json, or _annotations.coco.json in folders of splits."""
    names = [
        name
        for name in tree.files_of(".json")
        if posixpath.basename(name).lower().startswith("instances")
        and posixpath.dirname(name).lower() in ("", "annotations")
    ]
    names += [name for name in tree.files_of("_annotations.coco.json") if name.count("/") <= 1]
    return _by_split(tree, names, "COCO")


def find_other_coco(tree: Tree) -> tuple[str, dict[str, Callable[[], Dataset]]] | None:
    """Label files of other names whose content is COCO's, as exports of Label Studio and FiftyOne are."""
    names = []
    for name in tree.files_of(".json"):
        if name.count("/") <= 2 and not posixpath.basename(name).lower().startswith(OTHER_TASKS):
            try:
                if any(_parse_categories(found) for found in find_arrays(tree.path(name), "categories")):
                    names.append(name)
            except InputError:
                continue  # not JSON after all
    return _by_split(tree, names, "COCO")


def name_coco(tree: Tree, name: str) -> tuple[str, dict[str, Callable[[], Dataset]]]:
    """The one label file that was named, undivided."""
    return f"COCO, {name}", _readers(tree, {"all": name})


def _by_split(tree: Tree, names: Sequence[str], layout: str) -> tuple[str, dict[str, Callable[[], Dataset]]] | None:
    found: dict[str, list[str]] = {}
    for name in names:
        folder, base = posixpath.split(name)
        split = split_of_parts(folder.split("/")) or split_of(base)
        found.setdefault(split or "all", []).append(name)
    if {"train", "val", "test"} & set(found):
        found.pop("all", None)
    for split, several in found.items():
        if len(several) > 1:
            listed = ", ".join(str(tree.path(name)) for name in several)
            which = "" if split == "all" else f" for {split}"
            raise InputError(f"{tree.root} has several label files{which}: {listed}; keep one, or name one with --data")
    return (layout, _readers(tree, {split: several[0] for split, several in found.items()})) if found else None


def _readers(tree: Tree, files: Mapping[str, str]) -> dict[str, Callable[[], Dataset]]:
    return {split: partial(_read_split, tree, files, split) for split in files}


def _read_split(tree: Tree, files: Mapping[str, str], split: str) -> Dataset:
    """All records of one label file; its classes are those of all the splits' files."""
    labels = tree.path(files[split])
    content = _Content(labels)
    categories = {tree.path(name): _list_categories(tree.path(name)) for name in files.values()}
    problems = content.problems
    dropped = _find_unused(categories, labels, content)
    for category in dropped:
        text = f"category {category.key!r} ({category.name!r}) has no object in any split, and is above the others"
        problems.append(Problem(labels, None, "unused root category", text, "dropped"))
    for place, listed in categories.items():
        categories[place] = [category for category in listed if category not in dropped]
        require_unique([c.name for c in categories[place]], [f"id {c.key!r}" for c in categories[place]], place)
    names = agree_on_classes({place: [c.name for c in listed] for place, listed in categories.items()})
    index = {category.key: names.index(category.name) for category in categories[labels]}
    images = _place_images(tree, files[split], split, content)
    records, found = clean_records(images, content.join(index), names)
    return Dataset(names, records, (*problems, *found))


class _Content:
    """What a label file lists, taken apart: images by key, and objects in columns."""

    def __init__(self, labels: Path) -> None:
        self.labels = labels
        self.problems: list[Problem] = []
        self.images: dict[Hashable, tuple[str, tuple[int, int] | None]] = {}
        self.positions: list[int] = []  # of each image, in the file's list
        self.rows: dict[Hashable, int] = {}  # of each image that there is, or MISSING
        self.objects = RawObjects()
        self._image_keys: dict[Hashable, int] = {}  # in the order that objects name them
        self._category_keys: dict[Hashable, int] = {}
        self._read()

    def uses(self, key: Hashable) -> bool:
        """Whether an object is of this category."""
        return key in self._category_keys

    def join(self, index: Mapping[Hashable, int]) -> RawObjects:
        """The objects, each with the row of its image and the label of its category."""
        objects = self.objects
        image_of = np.array([_look_up(self.rows, key) for key in self._image_keys], np.int64)
        label_of = np.array([_look_up(index, key) for key in self._category_keys], np.int64)
        images = image_of[np.array(objects.images, np.int64)]
        categories = np.array(objects.labels, np.int64)
        labels = label_of[categories]
        keys = list(self._category_keys)
        objects.names = {int(row): str(keys[categories[row]]) for row in np.flatnonzero(labels < 0)}
        for row in np.flatnonzero(images == UNLISTED):
            self._skip(objects.indices[row], "broken annotation", "it is of no image that is listed")
        kept = images >= 0
        if not kept.all():
            numbers = {row: position for position, row in enumerate(np.flatnonzero(kept).tolist())}
            objects.names = {numbers[row]: name for row, name in objects.names.items() if row in numbers}
        return RawObjects(
            images[kept],
            np.array(objects.indices, np.int64)[kept],
            np.array(objects.boxes, np.float64).reshape(-1, 4)[kept],
            labels[kept],
            np.array(objects.crowd, bool)[kept],
            np.array(objects.difficult, bool)[kept],
            objects.names,
        )

    def _read(self) -> None:
        batch: list[Any] = []
        image = annotation = 0
        for section, entry in iterate_json(self.labels, SECTIONS):
            if section == "annotations":
                batch.append(entry)
                if len(batch) == BATCH:
                    self._add_objects(annotation, batch)
                    annotation += len(batch)
                    batch = []
            elif section == "images":
                try:
                    self._add_image(image, entry)
                except BROKEN as error:
                    self._skip(image, "broken image entry", repr(error))
                image += 1
        self._add_objects(annotation, batch)

    def _add_objects(self, first: int, entries: Sequence[Any]) -> None:
        """All of these at once where they are as they should be, else one by one."""
        try:
            boxes = np.array([entry["bbox"] for entry in entries])
            if boxes.shape != (len(entries), 4) or boxes.dtype.kind not in "fiu":
                raise ValueError
            crowd = [PLAIN_TRUTH[entry.get("iscrowd")] for entry in entries]
            images = [self._image_keys.setdefault(entry["image_id"], len(self._image_keys)) for entry in entries]
            keys = self._category_keys
            labels = [keys.setdefault(entry["category_id"], len(keys)) for entry in entries]
        except BROKEN:
            for position, entry in enumerate(entries, start=first):
                try:
                    self._add_object(position, entry)
                except BROKEN as error:
                    self._skip(position, "broken annotation", f"a field is missing or not a number: {error!r}")
            return
        corners = boxes.astype(np.float64)
        corners[:, 2:] += corners[:, :2]
        self.objects.boxes.frombytes(corners.tobytes())
        self.objects.images.extend(images)
        self.objects.indices.extend(range(first, first + len(entries)))
        self.objects.labels.extend(labels)
        self.objects.crowd.extend(crowd)
        self.objects.difficult.extend([0] * len(entries))

    def _add_object(self, position: int, entry: Any) -> None:
        x, y, width, height = map(as_number, entry["bbox"])
        corners = array("d", (x, y, x + width, y + height))
        crowd = as_truth(entry.get("iscrowd"))
        image_key = self._image_keys.setdefault(entry["image_id"], len(self._image_keys))
        category_key = self._category_keys.setdefault(entry["category_id"], len(self._category_keys))
        objects = self.objects
        objects.boxes.extend(corners)
        objects.images.append(image_key)
        objects.indices.append(position)
        objects.labels.append(category_key)
        objects.crowd.append(crowd)
        objects.difficult.append(False)

    def _add_image(self, position: int, entry: Any) -> None:
        key, name = entry["id"], entry["file_name"]
        width, height = entry.get("width"), entry.get("height")
        plain = type(width) is int and type(height) is int and width > 0 and height > 0
        size = (width, height) if plain else as_size(width, height)
        if not isinstance(name, str) or not isinstance(key, (int, float, str)):
            raise TypeError(f"id {key!r}, file_name {name!r}")
        if key in self.images:
            self._skip(position, "duplicate image", f"there is another image of id {key}")
            return
        self.images[key] = (name, size)
        self.positions.append(position)

    def _skip(self, position: int, kind: str, text: str) -> None:
        self.problems.append(Problem(self.labels, position, kind, text, "skipped"))


def _look_up(rows: Mapping[Hashable, int], key: Hashable) -> int:
    """The row of a key, also where one file has it as text and as a number; -1 without any."""
    if key in rows:
        return rows[key]
    if isinstance(key, str) and key.lstrip("-").isdigit() and str(int(key)) == key:
        return rows.get(int(key), UNLISTED)
    return rows.get(str(key), UNLISTED) if isinstance(key, int) and not isinstance(key, bool) else UNLISTED


def _place_images(tree: Tree, labels: str, split: str, content: _Content) -> list[RawImage]:
    """Where each image is; of those that are not there the objects are left out too, without another word."""
    stated = [name for name, _ in content.images.values()]
    found = tree.resolve(stated, _find_folder(tree, labels, split, stated))
    images: list[RawImage] = []
    file = tree.path(labels)
    for (key, (name, size)), position, (path, problem) in zip(content.images.items(), content.positions, found):
        content.rows[key] = MISSING if path is None else len(images)
        if path is not None:
            images.append(RawImage(_as_id(key), tree.path(path), file, size))
        else:
            reason = f"lies outside {tree.root}" if problem == "path outside" else f"is not in {tree.root}"
            content.problems.append(Problem(file, position, problem, f"image {name!r} {reason}", "skipped"))
    content.problems += describe_moved(file, stated, found)
    return images


def _find_folder(tree: Tree, labels: str, split: str, stated: Sequence[str]) -> tuple[str, ...]:
    """The folder that file names are relative to: the first usual one that holds one of the first images."""
    folder, base = posixpath.split(labels)
    name = posixpath.splitext(base)[0].lower().replace("instances", "").strip("_")
    usual = [name, *SPLITS.get(split, ()), "images", "data", ""]
    usual = [name for word in usual for name in ((f"images/{word}", word, f"data/{word}") if word else ("",))]
    if folder and folder.lower() != "annotations":
        usual = [folder, f"{folder}/images", f"{folder}/data", *usual]
    elif usual[0]:
        usual[:2] = usual[1::-1]
    alike: dict[str, list[str]] = {}
    for there in tree.folders:
        alike.setdefault(loosen(there), []).append(there)
    wanted = {loosen(posixpath.basename(name.replace("\\", "/"))) for name in stated[:PROBED]}
    for place in (place for word in usual for place in alike.get(loosen(word), ())):
        if any(loosen(posixpath.basename(name)) in wanted for name in tree.images_below(place)):
            return (place,)
    return ("",)


def _list_categories(labels: Path) -> list[Category]:
    """The categories of a label file, in the order of their ids."""
    for found in find_arrays(labels, "categories"):
        categories = _parse_categories(found)
        if categories:
            return categories
    raise InputError(f"{labels} is JSON but not COCO: it lists no categories with id and name")


def _parse_categories(entries: Sequence[Any]) -> list[Category] | None:
    try:
        found = [Category(entry["id"], str(entry["name"]), entry.get("supercategory")) for entry in entries]
        hash(tuple(category.key for category in found))
    except BROKEN:
        return None
    try:
        return sorted(found, key=lambda category: as_number(category.key))
    except (TypeError, ValueError):
        return sorted(found, key=lambda category: str(category.key))


def _find_unused(categories: Mapping[Path, Sequence[Category]], labels: Path, content: _Content) -> list[Category]:
    """Categories without an object in any split that stand above all the others, or have the name of another one."""
    found: list[Category] = []
    for listed in categories.values():
        for category in listed:
            others = [other for other in listed if other.key != category.key and other not in found]
            above = others and all(other.parent == category.name for other in others)
            above = above and category.parent in (*NO_PARENT, category.name)
            twin = any(other.name == category.name for other in others)
            if (above or twin) and category not in found and not _is_used(category, categories, labels, content):
                found.append(category)
    return found


def _is_used(
    category: Category, categories: Mapping[Path, Sequence[Category]], labels: Path, content: _Content
) -> bool:
    """Whether an object of any split is of it."""
    for place, listed in categories.items():
        if category in listed:
            if place == labels:
                if content.uses(category.key):
                    return True
                continue
            for _, entry in iterate_json(place, ("annotations",)):
                if isinstance(entry, dict) and entry.get("category_id") == category.key:
                    return True
    return False


def _as_id(key: Hashable) -> ImageId:
    if isinstance(key, float):
        return int(key) if key.is_integer() else str(key)
    assert isinstance(key, (int, str))
    return key
