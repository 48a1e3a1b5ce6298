"""CVAT's own XML: one annotations.xml with every image and its shapes, of which the boxes round them are taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from xml.etree.ElementTree import Element

from deploy.data.classes import find_alike_names, require_unique
from deploy.data.clean import RawImage, RawObjects, bound_turned, clean_records
from deploy.data.find import Tree, describe_lost, describe_moved
from deploy.data.records import Dataset, Problem
from deploy.data.splits import split_of
from deploy.data.text import read_xml
from deploy.data.values import as_number, as_size
from deploy.errors import InputError

__all__ = ["find_cvat"]

SHAPES = ("box", "polygon", "ellipse", "mask", "polyline", "points", "skeleton", "cuboid")
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
    if root.find("image") is None:
        found = "tracks of a video" if root.find("track") is not None else "no image"
        raise InputError(f'{tree.path(name)} has {found}: export it as "CVAT for images", with the images')
    subsets = {split_of(item.get("subset") or "") or "all" for item in root.iter("image")}
    return "CVAT", {split: partial(_read_split, tree, name, root, split) for split in sorted(subsets)}


def _read_split(tree: Tree, name: str, root: Element, split: str) -> Dataset:
    labels = tree.path(name)
    listed = [(item.findtext("name") or "").strip() for item in root.iter("label")]
    named = [str(shape.get("label", "")) for shape in root.iterfind("image/*") if shape.tag in SHAPES]
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
            text = describe_lost(stated[position], problem, tree.root)
            problems.append(Problem(labels, position, problem, text, "skipped"))
            continue
        for number, shape in enumerate(shape for shape in item if shape.tag in SHAPES):
            label, corners = str(shape.get("label", "")), _read_corners(shape)
            if corners is None:
                text = f"{stated[position]}: a {shape.tag} of {label!r} is no box"
                problems.append(Problem(labels, number, "not a box", text, "skipped"))
            else:
                objects.add(len(images), number, corners, index.get(label), label)
        images.append(RawImage(len(images), tree.path(path), labels, _read_size(item)))
    problems += find_alike_names(class_names, labels)
    records, wrong = clean_records(images, objects, class_names)
    return Dataset(class_names, records, (*problems, *wrong))


def _read_corners(shape: Element) -> Sequence[float] | None:
    """x1, y1, x2, y2 round a shape; None of one that has no area."""
    if shape.tag == "box":
        x1, y1, x2, y2 = (_read_number(shape, side) for side in SIDES)
        if not shape.get("rotation"):
            return x1, y1, x2, y2
        angle = math.radians(_read_number(shape, "rotation"))
        return bound_turned((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, angle)
    if shape.tag == "ellipse":
        cx, cy, rx, ry = (_read_number(shape, name) for name in ("cx", "cy", "rx", "ry"))
        return cx - rx, cy - ry, cx + rx, cy + ry
    if shape.tag == "mask":
        left, top, width, height = (_read_number(shape, name) for name in ("left", "top", "width", "height"))
        return left, top, left + width, top + height
    if shape.tag == "polygon":
        try:
            points = [[as_number(value) for value in pair.split(",")] for pair in shape.get("points", "").split(";")]
            (*across,), (*down,) = zip(*points)
        except ValueError:
            return [float("nan")] * 4
        return min(across), min(down), max(across), max(down)
    return None


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
