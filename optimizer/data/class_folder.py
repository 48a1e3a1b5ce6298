"""A folder of images with a folder for each class, as torchvision's ImageFolder reads it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from torch import Tensor
from torchvision.datasets import ImageFolder

from deploy.data import read_image
from optimizer.data.pictures import View
from optimizer.detectors.base import Truth
from optimizer.errors import InputError

__all__ = ["JUDGED_OF", "ClassFolder", "Part", "fingerprint_folder"]

Part = Literal["all", "fit", "judged"]

SPLITS = {"train", "training", "val", "valid", "validation", "test"}
JUDGED_OF = 20  # of so many images of a class one is kept out to judge by
SHAPE = "--pretrain takes a folder that holds a folder of images for each class"


class ClassFolder:
    """The images of a folder of classes; only their names are held.

    Args:
        part: "judged" is a twentieth of each class, and one where that is none, of two or more; "fit" is the rest.

    Raises:
        InputError: the folder holds no images, or those of one class; or splits, one of which is to be named; or every
            class has a single image, and some are to be judged.
    """

    def __init__(self, folder: Path, view: View, part: Part = "all") -> None:
        samples, self.class_names = _list_samples(folder)
        self._samples, self._view = samples, view
        if part != "all":
            judged = _choose_judged([label for _, label in samples])
            self._samples = [sample for index, sample in enumerate(samples) if (index in judged) == (part == "judged")]
        if not self._samples:
            raise InputError(f"every class in {folder} has a single image, so none can be kept out to judge by")

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def canvases(self) -> int:
        return 1

    def name(self, index: int) -> str:
        return self._samples[index][0]

    def read(self, index: int, canvas: int, seed: int) -> tuple[Tensor, Truth]:
        path, label = self._samples[index]
        return self._view.show(read_image(Path(path)), label, seed)


def _choose_judged(labels: list[int]) -> set[int]:
    """Numbers of the images that are judged, evenly spread over each class."""
    rows_of: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        rows_of.setdefault(label, []).append(index)
    judged: set[int] = set()
    for rows in rows_of.values():
        if len(rows) > 1:
            count = max(1, len(rows) // JUDGED_OF)
            judged.update(rows[:: len(rows) // count][:count])
    return judged


def fingerprint_folder(folder: Path) -> str:
    """SHA-256 of every image's name, class and size in bytes, wherever the folder is.

    Raises:
        InputError: as `ClassFolder`.
    """
    digest = hashlib.sha256()
    for path, _ in _list_samples(folder)[0]:
        inside = Path(path).relative_to(folder)
        digest.update(f"{inside} {Path(path).stat().st_size}|".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _list_samples(folder: Path) -> tuple[list[tuple[str, int]], tuple[str, ...]]:
    """(path, number of its class) of every image, in order, and the classes."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; {SHAPE}")
    try:
        images = ImageFolder(str(folder), allow_empty=True)
    except FileNotFoundError:  # what torchvision says where there is no folder in the folder
        raise InputError(f"{folder} holds no folders of classes; {SHAPE}") from None
    except OSError as error:
        raise InputError(f"{folder} cannot be listed: {error}") from error
    names = images.classes
    if {name.lower() for name in names} <= SPLITS:
        raise InputError(f"{folder} holds splits ({', '.join(names)}), not classes: name one, as {folder / names[0]}")
    filled = {label for _, label in images.samples}
    if not filled:
        raise InputError(f"the folders in {folder} ({', '.join(names[:5])}) hold no images; {SHAPE}")
    if len(filled) == 1:
        raise InputError(f"{folder} holds images of one class alone ({names[filled.pop()]}); a classifier needs two")
    return images.samples, tuple(names)
