"""Where images come from: files and folders, one in memory at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator, List, NamedTuple, Sequence

import numpy as np

from deploy.data.images import read_image
from deploy.errors import InputError

__all__ = ["Frame", "iterate_images", "list_images"]

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"))


class Frame(NamedTuple):
    """One image: (H, W, 3) uint8 RGB, and the file it is from."""

    path: Path
    image: np.ndarray


def list_images(paths: Sequence[Path]) -> List[Path]:
    """The image files named, and those inside the folders named (at any depth, by name).

    Raises:
        InputError: nothing is named, a path does not exist, or a folder holds no image.
    """
    if not paths:
        raise InputError("no image was named")
    found: List[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(item for item in path.rglob("*") if item.suffix.lower() in SUFFIXES and item.is_file())
            if not inside:
                raise InputError("the folder {} holds no image ({})".format(path, " ".join(sorted(SUFFIXES))))
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise InputError("there is no image or folder {}".format(path))
    return found


def iterate_images(paths: Sequence[Path], report: Callable[[str], None]) -> Iterator[Frame]:
    """Every image that can be read; one that cannot is handed to ``report`` as a line of text, and passed over.

    Raises:
        InputError: as `list_images`, or not one image could be read.
    """
    readable, first_problem = 0, ""
    files = list_images(paths)
    for path in files:
        try:
            frame = Frame(path, read_image(path))
        except InputError as error:
            first_problem = first_problem or str(error)
            if len(files) > 1:
                report(str(error))
            continue
        readable += 1
        yield frame
    if not readable:
        rest = "" if len(files) == 1 else " (and none of the other {} images)".format(len(files) - 1)
        raise InputError(first_problem + rest)
