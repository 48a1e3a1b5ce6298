"""Pascal VOC XML: one file per image, below `Annotations` or beside the images.

The image of a label file is the one that has its name; the name inside the file counts where there is none, because
files are renamed together and what they say is not. Corners are taken as they are written. The original VOC counts
pixels from 1, most tools that write its format from 0; nothing in a file tells which, and the difference is one pixel.
"""

from __future__ import annotations

import posixpath
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from deploy.data.classes import find_alike_names, require_unique
from deploy.data.clean import RawImage, RawObjects, bound_turned, clean_records
from deploy.data.find import Tree, describe_lost, describe_moved, leads_out, loosen, stem_of
from deploy.data.records import Dataset, Problem
from deploy.data.splits import SPLITS, split_of_parts
from deploy.data.text import read_lines, read_xml
from deploy.data.values import as_number, as_size, as_truth
from deploy.errors import InputError

__all__ = ["find_voc", "find_voc_beside"]

FOLDER = "annotations"
IMAGE_FOLDERS = ("jpegimages", "images", "image", "img", "imgs")
UNDIVIDED = ("trainval", "default", "all")
MARKED = re.compile(r"(.*\S)\s+(?:-1|0|1)")  # the official list of one class says whether it is in each image
SNIFFED = 20  # XML files that are looked into before XML beside images is believed


def find_voc(tree: Tree) -> tuple[str, dict[str, Callable[[], Dataset]]] | None:
    """`Annotations` with XML at any depth; splits by the lists of `ImageSets`, else by folders named after them."""
    names = [name for name in tree.files_of(".xml") if FOLDER in posixpath.dirname(name).lower().split("/")]
    if not names:
        return None
    divided: dict[str, list[str]] = {}
    lists = _find_lists(tree)
    for root, found in lists.items():  # VOC2007 and VOC2012 are used together
        own = [name for name in names if _root_of(name) == root] or names
        stems = _index_stems(own)
        for split, listing in found.items():
            split = "train" if split == "all" and len(lists) > 1 else split
            divided.setdefault(split, []).extend(_read_list(tree, listing, stems))
    divided = divided or _divide(names)
    layout = "Pascal VOC" + (f" ({', '.join(map(posixpath.basename, lists))})" if len(lists) > 1 else "")
    return layout, {split: partial(_read_split, tree, names, listed) for split, listed in divided.items()}


def find_voc_beside(tree: Tree) -> tuple[str, dict[str, Callable[[], Dataset]]] | None:
    """XML beside its images, as labelImg and Roboflow write it; splits by folders named after them."""
    names = tree.files_of(".xml")
    if not any(_is_voc(tree.path(name)) for name in names[:SNIFFED]):
        return None
    divided = _divide(names)
    layout = "Pascal VOC, XML beside the images"
    return layout, {split: partial(_read_split, tree, names, listed) for split, listed in divided.items()}


class _Labels(NamedTuple):
    """What one label file says."""

    stated: str
    size: tuple[int, int] | None
    objects: list[tuple[str, tuple[float, ...], bool]]  # class, corners, difficult


def _divide(names: Sequence[str]) -> dict[str, list[str]]:
    divided: dict[str, list[str]] = {}
    for name in names:
        divided.setdefault(split_of_parts(posixpath.dirname(name).split("/")) or "all", []).append(name)
    return divided


def _root_of(name: str) -> str:
    """The folder that `Annotations` is in."""
    parts = name.split("/")
    return "/".join(parts[: [part.lower() for part in parts].index(FOLDER)])


def _find_lists(tree: Tree) -> dict[str, dict[str, str]]:
    """The list of each split, by the folder that `ImageSets` is in.

    An undivided one counts only where none says what to train on or to validate on.
    """
    lists: dict[str, dict[str, str]] = {}
    for folder in ("imagesets/main", "imagesets"):
        by_root: dict[str, dict[str, str]] = {}
        for name in tree.files_of(".txt"):
            place = posixpath.dirname(name)
            if place.lower() == folder or place.lower().endswith("/" + folder):
                stem = posixpath.basename(name).lower()[: -len(".txt")]
                by_root.setdefault(place[: -len(folder)].rstrip("/"), {})[stem] = name
        for root, stems in by_root.items():
            found = {
                split: stems[word]
                for split, words in SPLITS.items()
                for word in words
                if word in stems and tree.path(stems[word]).stat().st_size
            }
            whole = next((stems[word] for word in UNDIVIDED if word in stems), None)
            if whole is not None and not {"train", "val"} & found.keys():
                found["all"] = whole
            if {"train", "val", "all"} & found.keys():
                lists.setdefault(root, found)
    return lists


def _index_stems(names: Sequence[str]) -> dict[str, str]:
    """Label files by their loosened path below their folder; by their names alone where only one has it."""
    index: dict[str, str] = {}
    alone: dict[str, list[str]] = {}
    for name in names:
        inner = name[len(_root_of(name)) :].lstrip("/").partition("/")[2]
        index[stem_of(inner)] = name
        alone.setdefault(stem_of(posixpath.basename(name)), []).append(name)
    for stem, several in alone.items():
        if len(several) == 1:
            index.setdefault(stem, several[0])
    return index


def _read_list(tree: Tree, name: str, stems: dict[str, str]) -> list[str]:
    """The label files that a list names, a line each; what has none is kept as it is written."""
    listed = []
    for line in read_lines(tree.path(name)):
        line = line.strip().strip('"')
        marked = MARKED.fullmatch(line)
        meant = [line, *([marked.group(1).strip().strip('"')] if marked else [])]
        meant += [posixpath.splitext(stem)[0] for stem in meant]
        meant += [posixpath.basename(stem.replace("\\", "/")) for stem in meant]
        found = next((stems[loosen(stem)] for stem in meant if loosen(stem) in stems), None)
        if line:
            listed.append(found or (marked.group(1) if marked else line))
    return list(dict.fromkeys(listed))


def _read_split(tree: Tree, names: Sequence[str], listed: Sequence[str]) -> Dataset:
    """The records of these label files. Classes are the sorted names of the whole folder, so that all splits agree."""
    problems: list[Problem] = []
    chosen = set(listed)
    labels: dict[str, _Labels] = {}
    classes: set[str] = set()
    for name in names:
        try:
            root = read_xml(tree.path(name))
            if root.tag != "annotation":
                raise ValueError(f"its top is <{root.tag}>")
        except (ValueError, InputError) as error:
            if name in chosen:
                text = f"not VOC XML: {error}"
                problems.append(Problem(tree.path(name), None, "broken labels", text, "skipped"))
            continue
        objects = list(_read_objects(root))
        classes.update(item[0] for item in objects)
        if name in chosen:
            stated = (root.findtext("filename") or "").strip()
            labels[name] = _Labels(stated, _read_size(root), objects)
    classes.discard("")
    if not classes:
        raise InputError(f"{tree.root} is laid out as Pascal VOC but no label file names an object")
    known = set(names)
    for name in listed:
        if name not in known:
            text = f"the split lists {name!r}, which has no label file"
            file = tree.root / "Annotations" / f"{posixpath.basename(name)}.xml".replace("\0", "")
            problems.append(Problem(file, None, "missing labels", text, "skipped"))
    class_names = tuple(sorted(classes))
    require_unique(class_names, class_names, tree.root)
    problems += find_alike_names(class_names, tree.root)
    index = {name: position for position, name in enumerate(class_names)}
    images: list[RawImage] = []
    objects_of = RawObjects()
    for name, path in _place_images(tree, labels, problems):
        for position, (label, corners, difficult) in enumerate(labels[name].objects):
            objects_of.add(len(images), position, corners, index.get(label), label, difficult)
        images.append(RawImage(len(images), tree.path(path), tree.path(name), labels[name].size))
    records, found = clean_records(images, objects_of, class_names)
    return Dataset(class_names, records, (*problems, *found))


def _place_images(tree: Tree, labels: dict[str, _Labels], problems: list[Problem]) -> Iterator[tuple[str, str]]:
    """(label file, image) of each whose image is there."""
    by_stem: dict[str, list[str]] = {}
    for image in tree.images:
        by_stem.setdefault(stem_of(image), []).append(image)
    own = {name: _find_own(name, labels[name].stated, by_stem) for name in labels}
    lost = [name for name in labels if own[name] is None]
    near = ("", *(folder for folder in tree.folders if folder.lower() in IMAGE_FOLDERS))
    guessed = tree.resolve([labels[name].stated for name in lost], near[::-1])
    taken = {path for path in own.values() if path is not None}
    elsewhere = dict(zip(lost, guessed))
    for name, (path, problem) in elsewhere.items():
        if path is not None and path not in taken:
            own[name] = path
        else:
            text = f"there is no image of its name, and {describe_lost(labels[name].stated, problem, tree.root)}"
            problems.append(Problem(tree.path(name), None, problem or "missing image", text, "skipped"))
    if lost:
        problems += describe_moved(tree.path(lost[0]), [labels[name].stated for name in lost], guessed)
    stated_exist = tree.resolve([labels[name].stated for name in labels if name not in elsewhere], near[::-1])
    for name, other in zip([name for name in labels if name not in elsewhere], stated_exist):
        stated = labels[name].stated
        if stated and _stem_alone(stated) != _stem_alone(name):
            file = tree.path(name)
            if leads_out(stated):
                text, action = f"image {stated!r} lies outside {tree.root}", "image looked up by the label file's name"
                problems.append(Problem(file, None, "path outside", text, action))
            elif other.path is not None:
                text = f"it names {stated!r}, and there is also {own[name]!r}, which has its own name"
                problems.append(Problem(file, None, "names another image", text, "the image of its own name is taken"))
    for name, path in own.items():
        if path is not None:
            yield name, path


def _find_own(name: str, stated: str, by_stem: dict[str, list[str]]) -> str | None:
    """The image called as its label file: in the folder that goes with `Annotations`, beside it, or in a usual one."""
    folder, base = posixpath.split(stem_of(name))
    parts = folder.split("/") if folder else []
    folders = [folder]
    if FOLDER in parts:
        at = len(parts) - 1 - parts[::-1].index(FOLDER)
        before, after = parts[:at], parts[at + 1 :]
        folders = ["/".join([*before, other, *after]) for other in IMAGE_FOLDERS]
        folders += [folder, "/".join([*before, *after]), *("/".join([*before, other]) for other in IMAGE_FOLDERS)]
        folders.append("/".join(before))
    else:
        folders += ["/".join([*parts, other]) for other in IMAGE_FOLDERS]
        folders += ["/".join([*parts[:-1], other]) for other in IMAGE_FOLDERS]
    for place in folders:
        images = by_stem.get(f"{place}/{base}" if place else base)
        if images:
            same = [image for image in images if loosen(posixpath.basename(image)) == loosen(_base(stated))]
            return same[0] if same else images[0]
    return None


def _base(stated: str) -> str:
    return posixpath.basename(stated.replace("\\", "/"))


def _stem_alone(name: str) -> str:
    """The loosened name without folders, and without an ending where it has one."""
    return stem_of(_base(name))


def _is_voc(path: Path) -> bool:
    try:
        return read_xml(path).tag == "annotation"
    except (ValueError, InputError):
        return False


def _read_size(root: ElementTree.Element) -> tuple[int, int] | None:
    try:
        return as_size(root.findtext("size/width"), root.findtext("size/height"))
    except (ValueError, OverflowError):
        return None


def _read_objects(root: ElementTree.Element) -> Iterator[tuple[str, tuple[float, ...], bool]]:
    for item in root.iter("object"):
        sides = {side.tag: side.text for side in item.iterfind("bndbox/*")}
        if sides:
            corners = tuple([_read_number(sides.get(side)) for side in ("xmin", "ymin", "xmax", "ymax")])
        else:
            corners = _read_outline(item)
        yield (item.findtext("name") or "").strip(), corners, _read_truth(item.findtext("difficult"))


def _read_outline(item: ElementTree.Element) -> tuple[float, ...]:
    """The box round an outline or a turned box; four times not a number where there is neither."""
    values = {part.tag: _read_number(part.text) for part in item.iterfind("robndbox/*")}
    if {"cx", "cy", "w", "h", "angle"} <= values.keys():
        return bound_turned(*(values[name] for name in ("cx", "cy", "w", "h", "angle")))
    points = [(part.tag[:1], _read_number(part.text)) for part in item.iterfind("polygon//*") if not len(part)]
    sides = [[value for axis, value in points if axis == wanted] for wanted in "xy"]
    if not all(sides):
        return (float("nan"),) * 4
    return min(sides[0]), min(sides[1]), max(sides[0]), max(sides[1])


def _read_number(text: str | None) -> float:
    """The number; not a number where there is none, which `clean_records` reports."""
    try:
        return as_number(text or "nan")
    except ValueError:
        return float("nan")


def _read_truth(text: str | None) -> bool:
    try:
        return as_truth(text)
    except ValueError:
        return False
