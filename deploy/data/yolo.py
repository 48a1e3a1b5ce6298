"""YOLO txt: `data.yaml` with class names and split paths; `images/.../1.jpg` has its boxes in `labels/.../1.txt`."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from deploy.data.clean import RawObject, RawRecord, clean_records, inside
from deploy.data.images import image_size
from deploy.data.records import Dataset, Problem
from deploy.errors import InputError

__all__ = ["find_yolo"]

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
DESCRIPTIONS = ("data.yaml", "data.yml", "dataset.yaml")


def find_yolo(folder: Path) -> dict[str, Callable[[], Dataset]]:
    """Reader of each split that `data.yaml` names; paths that lead out of the folder are not followed."""
    description = next((folder / name for name in DESCRIPTIONS if (folder / name).is_file()), None)
    if description is None:
        return {}
    content = _load(description)
    names = _read_names(description, content.get("names"))
    found: dict[str, Callable[[], Dataset]] = {}
    for split, keys in (("train", ("train",)), ("val", ("val", "valid")), ("test", ("test",))):
        stated = next((content[key] for key in keys if content.get(key)), None)
        if stated is None:
            continue
        sources = [_find_source(folder, str(content.get("path", ".")), str(item)) for item in _listed(stated)]
        if None not in sources:
            found[split] = partial(read_yolo, folder, [source for source in sources if source is not None], names)
        elif split != "test":
            raise InputError(f"{description} names {stated!r} for {split}, which is not there (inside {folder})")
    if not found:
        raise InputError(f"{description} names no train or val images")
    return found


def read_yolo(folder: Path, sources: list[Path], names: dict[int, str]) -> Dataset:
    """The records of image folders or lists; classes are ordered by their numbers."""
    index = {number: position for position, number in enumerate(sorted(names))}
    problems: list[Problem] = []
    raws: list[RawRecord] = []
    for path in (path for source in sources for path in _list_images(folder, source)):
        relative = inside(folder, os.path.relpath(path, folder))
        if relative is None or not path.is_file():
            kind = "missing image" if relative is not None else "path outside"
            problems.append(Problem(path, None, kind, f"there is no such image inside {folder}", "skipped"))
            continue
        try:
            size = image_size(path)
        except InputError as error:
            problems.append(Problem(path, None, "unreadable image", str(error), "skipped"))
            continue
        labels = _find_labels(folder, relative)
        objects, found = _read_lines(labels, size, names, index)
        problems += found
        raws.append(RawRecord(len(raws), path, labels, size, tuple(objects)))
    records, found = clean_records(raws)
    return Dataset(tuple(names[number] for number in sorted(names)), records, (*problems, *found))


def _read_lines(
    labels: Path, size: tuple[int, int], names: dict[int, str], index: dict[int, int]
) -> tuple[list[RawObject], list[Problem]]:
    """Lines "class cx cy w h", or "class x y x y x y ..." round an outline; an image without a file has no objects."""
    objects: list[RawObject] = []
    problems: list[Problem] = []
    lines = labels.read_text(encoding="utf-8", errors="replace").splitlines() if labels.is_file() else []
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            label, *values = (float(value) for value in line.split())
            if len(values) == 4:
                cx, cy, width, height = values
                x1, y1, x2, y2 = cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2
            elif len(values) >= 6 and len(values) % 2 == 0:
                x1, y1, x2, y2 = min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
            else:
                raise ValueError
            known = int(label) if label == int(label) else -1
        except (ValueError, OverflowError):
            text = f"{line[:60]!r} is neither 'class cx cy w h' nor an outline"
            problems.append(Problem(labels, number, "broken line", text, "skipped"))
            continue
        box = (x1 * size[0], y1 * size[1], x2 * size[0], y2 * size[1])
        objects.append(RawObject(number, box, index.get(known), names.get(known, f"{label:g}")))
    return objects, problems


def _find_source(folder: Path, root: str, stated: str) -> Path | None:
    """The image folder or list inside `folder`; `root` and a leading ".." are tried as people mean them."""
    base = os.path.abspath(folder)  # noqa: PTH100 (links are not to be resolved)
    relative = [os.path.join(root, stated), stated, stated[3:] if stated.startswith("../") else stated]  # noqa: PTH118
    names = [os.path.relpath(name, base) if Path(name).is_absolute() else name for name in relative]
    candidates = (inside(folder, name) for name in names)
    return next((path for path in candidates if path is not None and path.exists()), None)


def _list_images(folder: Path, source: Path) -> list[Path]:
    """Images below a folder, or on the lines of a list: absolute, or relative to the list or to the data set."""
    if source.is_dir():
        return sorted(path for path in source.rglob("*") if path.suffix.lower() in ENDINGS)
    lines = source.read_text(encoding="utf-8", errors="replace").splitlines()
    paths = []
    for line in (line.strip() for line in lines):
        near = source.parent / line
        if line:
            paths.append(near if near.is_file() else folder / line)
    return paths


def _find_labels(folder: Path, image: Path) -> Path:
    """`images/x/1.jpg` to `labels/x/1.txt`, by the last folder called `images`; without one, beside the image."""
    parts = list(image.relative_to(folder).parts)
    for position in reversed(range(len(parts) - 1)):
        if parts[position] == "images":
            parts[position] = "labels"
            break
    return folder.joinpath(*parts).with_suffix(".txt")


def _read_names(description: Path, stated: Any) -> dict[int, str]:
    try:
        items = stated.items() if isinstance(stated, dict) else enumerate(_listed(stated))
        names = {int(number): str(name) for number, name in items}
    except (TypeError, ValueError):
        names = {}
    if not names:
        raise InputError(f"{description} has no class names: wanted a list, or number: name; found {stated!r}")
    return names


def _listed(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _load(description: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(description.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{description} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise InputError(f"{description} is not a YOLO data description: the top is no mapping")
    return content
