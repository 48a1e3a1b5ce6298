"""CVAT's own XML: one annotations.xml with every image and its boxes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from xml.etree.ElementTree import Element

from deploy.data.classes import require_unique
from deploy.data.clean import RawImage, RawObjects, clean_records
from deploy.data.find import Tree, describe_moved
from deploy.data.records import Dataset, Problem
from deploy.data.splits import split_of
from deploy.data.text import read_xml
from deploy.data.values import as_number, as_size
from deploy.errors import InputError

__all__ = ["find_cvat"]

SIDES = ("xtl", "ytl", "xbr", "ybr")


def find_cvat(tree: Tree) -> tuple[str, dict[str, Callable[[], Dataset]]] | None:
    """annotations.xml in the folder; a split for each subset that is called after one."""
    name = next((name for name in tree.files if name.lower() == "annotations.xml"), None)
    if name is None:
        return None
    try:
        root = read_xml(tree.path(name))
    except ValueError as error:
        raise InputError(f"{tree.path(name)} is not XML: {error}") from error
    if root.tag != "annotations":
        return None
    subsets = {split_of(item.get("subset") or "") or "all" for item in root.iter("image")}
    return "CVAT", {split: partial(_read_split, tree, name, root, split) for split in sorted(subsets)}


def _read_split(tree: Tree, name: str, root: Element, split: str) -> Dataset:
    labels = tree.path(name)
    listed = [(item.findtext("name") or "").strip() for item in root.iter("label")]
    named = [str(box.get("label", "")) for box in root.iter("box")]
    class_names = tuple(dict.fromkeys(listed)) if listed else tuple(sorted(set(named)))
    require_unique(listed or class_names, [f"label {number}" for number in range(len(listed or class_names))], labels)
    index = {label: position for position, label in enumerate(class_names)}
    items = [item for item in root.iter("image") if (split_of(item.get("subset") or "") or "all") == split]
    stated = [item.get("name") or "" for item in items]
    found = tree.resolve(stated, ("images", f"images/{split}", ""))
    problems = describe_moved(labels, stated, found)
    images: list[RawImage] = []
    objects = RawObjects()
    for position, (item, (path, problem)) in enumerate(zip(items, found)):
        if path is None:
            text = f"image {stated[position]!r} is not in {tree.root}"
            problems.append(Problem(labels, position, problem, text, "skipped"))
            continue
        for number, box in enumerate(item.iter("box")):
            label = str(box.get("label", ""))
            objects.add(len(images), number, [_read_number(box, side) for side in SIDES], index.get(label), label)
        images.append(RawImage(len(images), tree.path(path), labels, _read_size(item)))
    records, wrong = clean_records(images, objects, class_names)
    return Dataset(class_names, records, (*problems, *wrong))


def _read_number(box: Element, side: str) -> float:
    try:
        return as_number(box.get(side, "nan"))
    except ValueError:
        return float("nan")


def _read_size(item: Element) -> tuple[int, int] | None:
    try:
        return as_size(item.get("width"), item.get("height"))
    except (ValueError, OverflowError):
        return None
