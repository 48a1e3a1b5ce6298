"""Pascal VOC XML: `Annotations/*.xml`, `JPEGImages/`, and `ImageSets/Main/{train,val}.txt` where there are splits."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from deploy.data.records import Dataset, Problem, RawObject, RawRecord, clean_records, inside
from deploy.errors import InputError

__all__ = ["find_voc", "read_voc"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".JPG", ".JPEG", ".PNG")


def find_voc(folder: Path) -> dict[str, list[str]]:
    """The image stems of each split; one split "all" where no list says which is which."""
    if not (folder / "Annotations").is_dir():
        return {}
    found = {}
    for split in ("train", "val"):
        listing = folder / "ImageSets" / "Main" / f"{split}.txt"
        if listing.is_file():
            found[split] = [line.split()[0] for line in listing.read_text(encoding="utf-8").splitlines() if line.split()]
    return found or {"all": sorted(path.stem for path in (folder / "Annotations").glob("*.xml"))}


def read_voc(folder: Path, stems: list[str]) -> Dataset:
    """The records of these stems. Classes are the sorted names of the whole folder, so that all splits agree."""
    names = _list_class_names(folder)
    index = {name: position for position, name in enumerate(names)}
    problems: list[Problem] = []
    raws = []
    for position, stem in enumerate(stems):
        labels = inside(folder / "Annotations", f"{stem}.xml")
        if labels is None or not labels.is_file():
            file = folder / "Annotations" / f"{Path(stem).name}.xml"
            problems.append(Problem(file, None, "missing labels", "the label file does not exist", "skipped"))
            continue
        try:
            raws.append(_read_file(folder, labels, position, index))
        except (ElementTree.ParseError, ValueError, OSError) as error:
            problems.append(Problem(labels, None, "broken labels", f"not VOC XML: {error}", "skipped"))
    records, found = clean_records(raws)
    return Dataset(names, tuple(records), tuple(problems + found))


def _read_file(folder: Path, labels: Path, position: int, index: dict[str, int]) -> RawRecord:
    root = ElementTree.parse(labels).getroot()
    objects = []
    for item in root.iter("object"):
        name = (item.findtext("name") or "").strip()
        box = item.find("bndbox")
        corners = tuple(_number(box, side) for side in ("xmin", "ymin", "xmax", "ymax"))
        objects.append(RawObject((corners[0], corners[1], corners[2], corners[3]), index.get(name), name))
    size = (int(float(root.findtext("size/width") or 0)), int(float(root.findtext("size/height") or 0)))
    return RawRecord(position, _find_image(folder, labels.stem, root), labels, size if min(size) > 0 else None,
                     tuple(objects))  # fmt: skip


def _find_image(folder: Path, stem: str, root: ElementTree.Element) -> Path:
    """The image beside the labels: by the name the file states, else by the stem with a usual ending."""
    images = folder / "JPEGImages" if (folder / "JPEGImages").is_dir() else folder
    stated = inside(images, root.findtext("filename") or f"{stem}.jpg")
    candidates = [stated, *(images / f"{stem}{suffix}" for suffix in SUFFIXES)]
    return next((path for path in candidates if path is not None and path.is_file()), images / f"{stem}.jpg")


def _number(box: ElementTree.Element | None, side: str) -> float:
    text = box.findtext(side) if box is not None else None
    try:
        return float(text) if text is not None else float("nan")
    except ValueError:
        return float("nan")


def _list_class_names(folder: Path) -> tuple[str, ...]:
    names: set[str] = set()
    for labels in (folder / "Annotations").glob("*.xml"):
        try:
            names.update((item.findtext("name") or "").strip() for item in ElementTree.parse(labels).iter("object"))
        except (ElementTree.ParseError, OSError):
            continue  # reported when its split is read
    names.discard("")
    if not names:
        raise InputError(f"{folder} is laid out as Pascal VOC but no file in Annotations names an object")
    return tuple(sorted(names))
