"""Pascal VOC XML: `Annotations/*.xml`, `JPEGImages/`, and `ImageSets/Main/{train,val,test}.txt` where there are splits.

Corners are taken as they are written. The original VOC counts pixels from 1, most tools that write its format from 0;
nothing in a file tells which, and the difference is one pixel.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from functools import partial
from pathlib import Path

from deploy.data.clean import RawObject, RawRecord, clean_records, inside
from deploy.data.records import Dataset, Problem
from deploy.errors import InputError

__all__ = ["find_voc"]

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".JPG", ".JPEG", ".PNG")


def find_voc(folder: Path) -> dict[str, Callable[[], Dataset]]:
    """Reader of each split; one split "all" where no list says which is which."""
    if not (folder / "Annotations").is_dir():
        return {}
    stems = {split: _read_list(folder, split) for split in ("train", "val", "test")}
    found = {split: listed for split, listed in stems.items() if listed}
    if not {"train", "val"} & found.keys():
        found["all"] = _read_list(folder, "trainval") or sorted(path.stem for path in folder.glob("Annotations/*.xml"))
    return {split: partial(read_voc, folder, listed) for split, listed in found.items()}


def read_voc(folder: Path, stems: list[str]) -> Dataset:
    """The records of these stems. Classes are the sorted names of the whole folder, so that all splits agree."""
    names = _list_class_names(folder)
    index = {name: position for position, name in enumerate(names)}
    problems: list[Problem] = []
    raws = []
    for position, stem in enumerate(stems):
        labels = inside(folder / "Annotations", f"{stem}.xml")
        if labels is None or not labels.is_file():
            text = f"the split lists {stem!r}, which has no label file"
            problems.append(
                Problem(folder / "Annotations" / f"{Path(stem).name}.xml", None, "missing labels", text, "skipped")
            )
            continue
        try:
            root = _parse(labels)
        except ValueError as error:
            problems.append(Problem(labels, None, "broken labels", f"not VOC XML: {error}", "skipped"))
            continue
        images = folder / "JPEGImages" if (folder / "JPEGImages").is_dir() else folder
        stated = root.findtext("filename") or ""
        if stated and inside(images, stated) is None:
            text = f"image {stated!r} lies outside {images}"
            problems.append(Problem(labels, None, "path outside", text, "image looked up by the label file's name"))
        path = _find_image(images, stem, stated)
        raws.append(RawRecord(position, path, labels, _read_size(root), _read_objects(root, index)))
    records, found = clean_records(raws)
    return Dataset(names, records, (*problems, *found))


def _read_list(folder: Path, split: str) -> list[str]:
    listing = folder / "ImageSets" / "Main" / f"{split}.txt"
    if not listing.is_file():
        return []
    lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    return list(dict.fromkeys(line.split()[0] for line in lines if line.split()))


def _read_size(root: ElementTree.Element) -> tuple[int, int] | None:
    try:
        return int(float(root.findtext("size/width") or 0)), int(float(root.findtext("size/height") or 0))
    except (ValueError, OverflowError):
        return None


def _read_objects(root: ElementTree.Element, index: dict[str, int]) -> tuple[RawObject, ...]:
    objects = []
    for position, item in enumerate(root.iter("object")):
        name = _read_name(item)
        x1, y1, x2, y2 = (_read_number(item, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
        objects.append(RawObject(position, (x1, y1, x2, y2), index.get(name), name))
    return tuple(objects)


def _read_name(item: ElementTree.Element) -> str:
    return (item.findtext("name") or "").strip()


def _read_number(item: ElementTree.Element, tag: str) -> float:
    """The number in a tag; not a number where there is none, which `clean_records` reports."""
    try:
        return float(item.findtext(tag) or "nan")
    except ValueError:
        return float("nan")


def _find_image(images: Path, stem: str, stated: str) -> Path:
    """The image by the name its labels state, else by theirs with a usual ending."""
    candidates = [inside(images, name) for name in (stated, *(f"{stem}{ending}" for ending in ENDINGS))]
    return next((path for path in candidates if path is not None and path.is_file()), images / f"{stem}.jpg")


def _list_class_names(folder: Path) -> tuple[str, ...]:
    names: set[str] = set()
    for labels in folder.glob("Annotations/*.xml"):
        try:
            names.update(_read_name(item) for item in _parse(labels).iter("object"))
        except ValueError:
            continue  # reported when its split is read
    names.discard("")
    if not names:
        raise InputError(f"{folder} is laid out as Pascal VOC but no file in Annotations names an object")
    return tuple(sorted(names))


def _parse(labels: Path) -> ElementTree.Element:
    """The root of an XML file; ValueError where it is none."""
    try:
        return ElementTree.parse(labels).getroot()
    except (ElementTree.ParseError, LookupError, OSError) as error:
        raise ValueError(str(error)) from error
