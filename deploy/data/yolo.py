"""YOLO txt: `data.yaml` with class names and split paths; `images/.../1.jpg` has its boxes in `labels/.../1.txt`.

An image without a label file is background, and said to be: mostly the labels are somewhere else.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from deploy.data.classes import require_unique
from deploy.data.find import Found, Tree, describe_moved, leads_out
from deploy.data.label_files import CLASS_LISTS
from deploy.data.records import Dataset, Problem
from deploy.data.splits import SPLITS, split_of, split_of_parts
from deploy.data.text import read_lines, read_yaml
from deploy.data.yolo_labels import YoloNames, read_images
from deploy.errors import InputError

__all__ = ["find_yolo", "find_yolo_without_description", "name_list", "name_yolo"]

DESCRIPTIONS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NOTHING = ("", "~", "null", "none")


def find_yolo(tree: Tree) -> tuple[str, dict[str, Callable[[], Dataset]]] | None:
    """Reader of each split that `data.yaml` names; paths that lead out of the folder are looked for by their ends."""
    yamls = [name for name in tree.files_of(".yaml", ".yml") if "/" not in name]
    chosen = next((name for usual in DESCRIPTIONS for name in yamls if name.lower() == usual), None)
    for name in [chosen] if chosen else yamls:
        if chosen or _describes(tree.path(name)):
            return name_yolo(tree, name)
    return None


def name_yolo(tree: Tree, name: str) -> tuple[str, dict[str, Callable[[], Dataset]]]:
    """The same of one description that was named."""
    description = tree.path(name)
    content = read_yaml(description)
    names = _read_names(tree, description, content)
    found: dict[str, Callable[[], Dataset]] = {}
    for split, keys in SPLITS.items():
        stated = next((content[key] for key in keys if content.get(key) and content[key] not in NOTHING), None)
        if stated is None:
            continue
        if not isinstance(stated, (str, list)) or not all(isinstance(item, str) for item in _listed(stated)):
            raise InputError(f"{description}: {split} is a path or a list of paths, not {str(stated)[:80]}")
        root = content.get("path")
        sources = [_find_source(tree, root if isinstance(root, str) else ".", item) for item in _listed(stated)]
        if None not in sources:
            found[split] = partial(_read_split, tree, [source for source in sources if source is not None], names)
        elif split != "test":
            lost = next(item for item, source in zip(_listed(stated), sources) if source is None)
            raise InputError(f"{description} names {lost!r} for {split}, which is not there (inside {tree.root})")
    if not found:
        raise InputError(f"{description} names no train or val images")
    return "YOLO", found


def find_yolo_without_description(tree: Tree) -> tuple[str, dict[str, Callable[[], Dataset]]] | None:
    """A list of class names (classes.txt) and label files, as labelImg and Label Studio write them."""
    listing = next((name for usual in CLASS_LISTS for name in tree.files if name.lower() == usual), None)
    listing = listing or next(
        (name for name in tree.files if posixpath.basename(name).lower() in CLASS_LISTS[:2]), None
    )
    if listing is None or not tree.images:
        return None
    place = tree.path(listing)
    lines = [line.strip() for line in read_lines(place)]
    while lines and not lines[-1]:
        lines.pop()
    names = YoloNames(_check_names(place, dict(enumerate(lines))))
    layout = f"YOLO, classes of {listing}"
    lists = _find_lists(tree, posixpath.dirname(listing))
    if "train" in lists:
        by_list = {split: partial(_read_split, tree, [name], names) for split, name in lists.items()}
        return f"{layout}, images of {', '.join(lists.values())}", dict(by_list)
    divided: dict[str, list[str]] = {}
    for image in tree.images:
        divided.setdefault(split_of_parts(posixpath.dirname(image).split("/")) or "all", []).append(image)
    readers = {split: partial(read_images, tree, images, [], names) for split, images in divided.items()}
    return layout, dict(readers)


def name_list(tree: Tree, name: str) -> tuple[str, dict[str, Callable[[], Dataset]]]:
    """One list of images that was named; the classes are those of the folder's data.yaml or list of names."""
    for description in tree.files_of(".yaml", ".yml"):
        if "/" not in description and _describes(tree.path(description)):
            place = tree.path(description)
            names = _read_names(tree, place, read_yaml(place))
            split = split_of(posixpath.basename(name)) or "all"
            reader = partial(_read_split, tree, [name], names)
            return f"YOLO, {name}", {"all" if split == "test" else split: reader, "all": reader}
    raise InputError(f"{tree.path(name)} is a list of images, but there is no data.yaml with class names beside it")


def _find_lists(tree: Tree, folder: str) -> dict[str, str]:
    """Darknet's lists of images beside the class names, as train.txt and valid.txt, by their splits."""
    found: dict[str, str] = {}
    for name in tree.files_of(".txt"):
        stem = posixpath.splitext(posixpath.basename(name))[0].lower()
        split = next((split for split, words in SPLITS.items() if stem in words), None)
        if split is not None and posixpath.dirname(name) == folder and any(map(str.strip, read_lines(tree.path(name)))):
            found.setdefault(split, name)
    return found


def _read_split(tree: Tree, sources: Sequence[str], names: YoloNames) -> Dataset:
    """The records of image folders or lists; classes are ordered by their numbers."""
    problems: list[Problem] = []
    images = [image for source in sources for image in _list_images(tree, source, problems)]
    return read_images(tree, list(dict.fromkeys(images)), problems, names)


def _find_source(tree: Tree, root: str, stated: str) -> str | None:
    """The image folder, or the list of images, that a description means."""
    base = str(tree.root.absolute())
    for name in (posixpath.join(root, stated), stated):
        slashed = name.replace("\\", "/")
        if slashed == base or slashed.startswith(base + "/"):
            slashed = posixpath.relpath(slashed, base)
        slashed = posixpath.normpath(slashed)
        if slashed == ".":
            return ""
        if slashed in tree.folders or tree.has(slashed):
            return slashed
    if not stated.strip("./\\"):
        return None
    if stated.lower().endswith(".txt"):
        return tree.find_file(stated, ".txt")
    return tree.find_folder(stated)


def _list_images(tree: Tree, source: str, problems: list[Problem]) -> list[str]:
    """Images below a folder, or on the lines of a list: absolute, or relative to the list or to the data set."""
    if source in tree.folders:
        images = tree.images_below(source)
        if not images:
            problems.append(Problem(tree.path(source), None, "no images", _list_endings(tree, source), "skipped"))
        return images
    base = str(tree.root.absolute()) + "/"
    stated = [line.strip() for line in read_lines(tree.path(source)) if line.strip()]
    inner = [line[len(base) :] if line.startswith(base) else line for line in stated]
    found: list[Found] = tree.resolve(inner, (posixpath.dirname(source), ""))
    listing = tree.path(source)
    for line, (path, problem) in zip(stated, found):
        if path is None:
            kind = "path outside" if leads_out(line) and not line.startswith(base) else problem
            problems.append(Problem(listing, None, kind, f"there is no image {line!r} inside {tree.root}", "skipped"))
    problems += describe_moved(listing, stated, found)
    return [path for path, _ in found if path is not None]


def _list_endings(tree: Tree, folder: str) -> str:
    """What a folder without an image has instead."""
    inside = [name for name in tree.files if not folder or name.startswith(folder + "/")]
    endings = Counter(posixpath.splitext(name)[1].lower() or "no ending" for name in inside)
    listed = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(3)) or "nothing"
    return f"there is no image in it that can be read; there is {listed}"


def _describes(path: Path) -> bool:
    try:
        return bool(read_yaml(path).get("names"))
    except InputError:
        return False


def _read_names(tree: Tree, description: Path, content: Mapping[str, Any]) -> YoloNames:
    stated = content.get("names")
    if isinstance(stated, str) and posixpath.splitext(stated)[1].lower() in (".txt", ".names"):
        place = tree.find_file(stated, ".txt", ".names")
        if place is None:
            raise InputError(f"{description} names {stated} for its class names, which is not there")
        stated = [line.strip() for line in read_lines(tree.path(place)) if line.strip()]
    try:
        items = stated.items() if isinstance(stated, dict) else enumerate(_listed(stated))
        names = {int(number): name for number, name in items}
    except (TypeError, ValueError):
        names = {}
    one_text = isinstance(stated, str) and ("," in stated or stated.startswith("["))  # a list in quotes
    if not names or one_text or not all(isinstance(name, str) for name in names.values()):
        raise InputError(f"{description} has no class names: wanted a list, or number: name; found {str(stated)[:80]}")
    return YoloNames(_check_names(description, names), _read_keypoints(description, content.get("kpt_shape")))


def _check_names(place: Path, names: dict[int, str]) -> dict[int, str]:
    require_unique(list(names.values()), [f"number {number}" for number in names], place)
    return names


def _read_keypoints(description: Path, stated: Any) -> tuple[int, int] | None:
    if stated is None or stated in NOTHING:
        return None
    try:
        count, each = (int(value) for value in stated)
    except (TypeError, ValueError) as error:
        raise InputError(f"{description}: kpt_shape is two whole numbers, not {str(stated)[:80]}") from error
    return count, each


def _listed(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value is None or value in NOTHING else [value]
