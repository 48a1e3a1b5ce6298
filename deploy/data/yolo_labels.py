"""What the lines of YOLO's label files say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from deploy.data.classes import find_alike_names
from deploy.data.clean import RawImage, RawObjects, clean_records
from deploy.data.find import Tree
from deploy.data.images import image_size
from deploy.data.label_files import LabelFiles
from deploy.data.records import Dataset, Problem
from deploy.data.text import read_text
from deploy.data.yolo_rows import OUTLINES, KeypointFinder, Keypoints
from deploy.errors import InputError

__all__ = ["YoloNames", "read_images"]


class YoloNames(NamedTuple):
    """Class names by number, and the keypoints of an object where they are stated."""

    by_number: dict[int, str]
    keypoints: Keypoints = None


def read_images(tree: Tree, names_of: Sequence[str], before: Sequence[Problem], names: YoloNames) -> Dataset:
    """The records of these images, and the problems `before` them; classes are ordered by their numbers."""
    index = {number: position for position, number in enumerate(sorted(names.by_number))}
    files = LabelFiles(tree)
    problems = list(before)
    images: list[RawImage] = []
    objects = RawObjects()
    waiting: dict[int, tuple[str, str]] = {}  # label file of each image, and its text
    finder = KeypointFinder(names.keypoints)
    for name in names_of:
        path = tree.path(name)
        try:
            size = image_size(path)
        except InputError as error:
            problems.append(Problem(path, None, "unreadable image", str(error), "skipped"))
            continue
        labels = files.of(name)
        if labels is None:
            problems.append(Problem(path, None, "no labels", "it has no label file", "taken as background"))
            images.append(RawImage(len(images), path, path, size))
            continue
        if files.others(name):
            text = f"{labels} may be its labels, or those of {files.others(name)[0]}"
            problems.append(Problem(path, None, "ambiguous labels", text, "skipped"))
            continue
        waiting[len(images)] = labels, _read_label_text(tree.path(labels), problems)
        finder.look(waiting[len(images)][1])
        images.append(RawImage(len(images), path, tree.path(labels), size))
    used = {labels for labels, _ in waiting.values()}
    if names.keypoints is None:
        _conclude(tree, finder, used, problems)
    for image, (labels, text) in waiting.items():
        width, height = images[image].size or (0, 0)
        for number, line in enumerate(text.split("\n")):
            item = _parse_line(line, finder.found or OUTLINES) if line.strip() else None
            if isinstance(item, str):
                problems.append(Problem(tree.path(labels), number, "broken line", item, "skipped"))
            elif item is not None:
                label, x1, y1, x2, y2 = item
                known = int(label) if label == int(label) else -1
                corners = (x1 * width, y1 * height, x2 * width, y2 * height)
                objects.add(image, number, corners, index.get(known), names.by_number.get(known, f"{label:g}"))
    problems += [*files.twins(), *files.orphans(used)]
    class_names = tuple(names.by_number[number] for number in sorted(names.by_number))
    problems += find_alike_names(class_names, tree.root)
    records, found = clean_records(images, objects, class_names)
    return Dataset(class_names, records, (*problems, *found))


def _conclude(tree: Tree, finder: KeypointFinder, used: set[str], problems: list[Problem]) -> None:
    """Decide what long lines are, by those of the whole folder if these do not tell; what is decided is said.

    Raises:
        InputError: the folder's lines do not tell either.
    """
    finder.conclude()
    for name in tree.files_of(".txt") if finder.found is None else ():
        if name not in used:
            finder.look(_read_label_text(tree.path(name), []))
    finder.conclude()
    count, each = finder.found or OUTLINES
    if finder.found is None:
        raise InputError(
            f"{tree.root} has label lines of {finder.length} numbers after the class, which may be boxes with "
            f"keypoints or outlines: say in data.yaml kpt_shape: [{(finder.length - 4) // 2}, 2] for keypoints, or "
            "kpt_shape: [0, 0] for outlines"
        )
    if count:
        text = f"label lines are boxes with {count} keypoints of {each} values each; kpt_shape is not stated"
        problems.append(Problem(tree.root, None, "keypoints", text, "boxes taken"))


def _read_label_text(file: Path, problems: list[Problem]) -> str:
    try:
        return read_text(file)
    except InputError as error:
        problems.append(Problem(file, None, "broken labels", str(error), "skipped"))
        return ""


def _parse_line(line: str, keypoints: tuple[int, int]) -> tuple[float, float, float, float, float] | str:
    """Class and corners in shares of the image; what is wrong with the line where it is not as it should be.

    That is "class cx cy w h", with keypoints after it where there are any, or "class x y x y x y ..." round an outline.
    """
    wanted = "'class cx cy w h' or an outline"
    count, each = keypoints
    if count:
        wanted = f"'class cx cy w h' and {count} keypoints of {each} values"
    try:
        label, *values = (float(value) for value in line.split())
        if "_" in line:
            raise ValueError
        int(label)
    except (ValueError, OverflowError):
        return f"{line[:60]!r} is not {wanted}"
    if len(values) == 4 or (count and len(values) == 4 + count * each):
        cx, cy, width, height = values[:4]
        return label, cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2
    if not count and len(values) >= 6 and len(values) % 2 == 0:
        return label, min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    return f"{line[:60]!r} is not {wanted}"
