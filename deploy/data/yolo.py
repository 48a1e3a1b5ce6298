"""YOLO txt: `data.yaml` with names and split paths, one text file beside each image's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy.data.records import Dataset, Problem, RawObject, RawRecord, clean_records, image_size
from deploy.errors import InputError

__all__ = ["find_yolo", "read_yolo"]

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


def find_yolo(folder: Path) -> dict[str, Path]:
    """The image folder or list of each split that `data.yaml` names."""
    content = _load(folder)
    if content is None:
        return {}
    root = folder / str(content.get("path", "."))
    root = root if root.is_dir() else folder
    found = {}
    for split, keys in (("train", ("train",)), ("val", ("val", "valid"))):
        for key in keys:
            if isinstance(content.get(key), str):
                stated = content[key]
                for candidate in (root / stated, folder / stated, folder / stated.removeprefix("../")):
                    if candidate.exists():
                        found.setdefault(split, candidate)
    return found


def read_yolo(folder: Path, images: Path) -> Dataset:
    """The records of one split; classes are ordered by index."""
    content = _load(folder) or {}
    names = content.get("names", [])
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=int)]
    names = tuple(str(name) for name in names)
    if not names:
        raise InputError(f"{folder / 'data.yaml'} has no class names")
    problems: list[Problem] = []
    raws = []
    for position, path in enumerate(_list_images(images)):
        try:
            size = image_size(path)
        except InputError as error:
            problems.append(Problem(path, None, "unreadable image", str(error), "skipped"))
            continue
        labels = _labels_of(path)
        objects, found = _read_lines(labels, size, names)
        problems += found
        raws.append(RawRecord(position, path, labels, size, tuple(objects)))
    records, found = clean_records(raws)
    return Dataset(names, tuple(records), tuple(problems + found))


def _read_lines(
    labels: Path, size: tuple[int, int], names: tuple[str, ...]
) -> tuple[list[RawObject], list[Problem]]:
    """Lines "class cx cy w h" in shares of the image; a missing file is an image without objects."""
    objects: list[RawObject] = []
    problems: list[Problem] = []
    if not labels.is_file():
        return objects, problems
    for number, line in enumerate(labels.read_text(encoding="utf-8", errors="replace").splitlines()):
        if not line.strip():
            continue
        try:
            label, cx, cy, width, height = (float(value) for value in line.split()[:5])
        except ValueError:
            problems.append(Problem(labels, number, "broken line", f"{line[:60]!r} is not 'class cx cy w h'", "skipped"))
            continue
        known = label == int(label) and 0 <= int(label) < len(names)
        box = (
            (cx - width / 2) * size[0],
            (cy - height / 2) * size[1],
            (cx + width / 2) * size[0],
            (cy + height / 2) * size[1],
        )
        objects.append(RawObject(box, int(label) if known else None, names[int(label)] if known else f"{label:g}"))
    return objects, problems


def _list_images(images: Path) -> list[Path]:
    if images.is_file():
        lines = [line.strip() for line in images.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [Path(line) if Path(line).is_absolute() else images.parent / line for line in lines]
    return sorted(path for path in images.rglob("*") if path.suffix.lower() in SUFFIXES)


def _labels_of(image: Path) -> Path:
    """`.../images/x/1.jpg` to `.../labels/x/1.txt`; without a folder `images`, beside the image."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _load(folder: Path) -> dict[str, Any] | None:
    import yaml

    for name in ("data.yaml", "data.yml", "dataset.yaml"):
        path = folder / name
        if path.is_file():
            try:
                content = yaml.safe_load(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, yaml.YAMLError) as error:
                raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
            if isinstance(content, dict):
                return content
            raise InputError(f"{path} is not a YOLO data description: the top is no mapping")
    return None
