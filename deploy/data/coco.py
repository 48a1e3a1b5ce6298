"""COCO JSON: one label file a split, with the images in a folder named after the split.

Ids are keys and nothing else: numbers, text, huge or negative. Classes are ordered by id where ids are numbers, by name
of the id otherwise. The files are read piece by piece, so that memory holds the records and not the JSON.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from deploy.data.classes import agree_on_classes, find_alike_names, require_unique
from deploy.data.clean import RawImage, clean_records
from deploy.data.coco_content import BROKEN, MISSING, CocoContent
from deploy.data.find import Tree, describe_lost, describe_moved, loosen
from deploy.data.records import Dataset, ImageId, Problem
from deploy.data.splits import SPLITS, split_of, split_of_parts
from deploy.data.stream import find_arrays, has_elements, iterate_json
from deploy.data.values import as_number
from deploy.errors import InputError

__all__ = ["find_coco", "find_other_coco", "name_coco"]

KEYPOINTS = "person_keypoints"  # whose objects have boxes, too
OTHER_TASKS = ("captions", KEYPOINTS, "panoptic", "stuff", "image_info")  # files beside COCO's instances
NO_PARENT = (None, "", "none")
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
                if has_elements(tree.path(name), "images") and any(
                    _parse_categories(found) for found in find_arrays(tree.path(name), "categories")
                ):
                    names.append(name)
            except InputError:
                continue  # not JSON after all
    keypoints = [name for name in tree.files_of(".json") if posixpath.basename(name).lower().startswith(KEYPOINTS)]
    return _by_split(tree, names or keypoints, "COCO")


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
    content = CocoContent(labels)
    categories = {tree.path(name): _list_categories(tree.path(name)) for name in files.values()}
    problems = content.problems
    dropped = _find_unused(categories, labels, content)
    for category in dropped:
        relation = "is above the others, or called like one"
        text = f"category {category.key!r} ({category.name!r}) has no object in any split, and {relation}"
        problems.append(Problem(labels, None, "unused root category", text, "dropped"))
    for place, listed in categories.items():
        categories[place] = [category for category in listed if category not in dropped]
        _require_own_ids(categories[place], place)
        require_unique([c.name for c in categories[place]], [f"id {c.key!r}" for c in categories[place]], place)
    names = agree_on_classes({place: [c.name for c in listed] for place, listed in categories.items()})
    problems += find_alike_names(names, labels)
    index = {category.key: names.index(category.name) for category in categories[labels]}
    images = _place_images(tree, files[split], split, content)
    records, found = clean_records(images, content.join(index), names)
    parents = _list_parents([category for listed in categories.values() for category in listed], names)
    return Dataset(names, records, (*problems, *found), supercategories=parents)


def _place_images(tree: Tree, labels: str, split: str, content: CocoContent) -> list[RawImage]:
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
            text = describe_lost(name, problem, tree.root)
            content.problems.append(Problem(file, position, problem, text, "skipped"))
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
        listed = [Category(entry["id"], str(entry["name"]).strip(), entry.get("supercategory")) for entry in entries]
        found = list({(category.key, category.name): category for category in listed}.values())
    except BROKEN:
        return None
    try:
        return sorted(found, key=lambda category: as_number(category.key))
    except (TypeError, ValueError):
        return sorted(found, key=lambda category: str(category.key))


def _require_own_ids(categories: Sequence[Category], place: Path) -> None:
    """Refuse an id that two classes have: nothing tells which of them an object is of."""
    names: dict[Hashable, str] = {}
    for category in categories:
        other = names.setdefault(category.key, category.name)
        if other != category.name:
            raise InputError(f"{place} has the category id {category.key!r} twice: {other!r} and {category.name!r}")


def _list_parents(categories: Iterable[Category], names: Sequence[str]) -> tuple[str, ...]:
    """The parent of each class, its own name where none is stated; empty where none is stated of any."""
    stated = {category.name: str(category.parent) for category in categories if category.parent not in NO_PARENT}
    return tuple(stated.get(name, name) for name in names) if stated else ()


def _find_unused(categories: Mapping[Path, Sequence[Category]], labels: Path, content: CocoContent) -> list[Category]:
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
    category: Category, categories: Mapping[Path, Sequence[Category]], labels: Path, content: CocoContent
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
