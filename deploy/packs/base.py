"""What it takes to write a bundle for somebody else's server: a function, and what all of them say and check alike."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, NamedTuple, Sequence

from deploy.bundles.bundle import Bundle
from deploy.errors import InputError
from deploy.pipeline.preprocess import Preprocess

__all__ = ["Pack", "Packed", "describe_preprocess", "write_labels", "write_readme"]

README_FILE = "README.txt"
LABELS_FILE = "labels.txt"


class Packed(NamedTuple):
    """What a user has to know: the command that starts it, and a line for each thing that is not as in the bundle."""

    start: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Pack:
    """How a bundle is written for one consumer.

    Attributes:
        summary: what the folder holds, for a reader who has to choose.
        write: fills an empty folder. `InputError` where the consumer cannot run the bundle as it is meant.
    """

    summary: str
    write: Callable[[Bundle, Path], Packed]


def write_labels(folder: Path, class_names: Sequence[str], forbidden: str = "\r\n") -> None:
    """`labels.txt`: a class name per line; an `InputError` for a name that a reader of the file would cut in two."""
    for name in class_names:
        if not name or any(character in name for character in forbidden):
            raise InputError(f"the class name {name!r} cannot be a line of {LABELS_FILE}; rename the class")
    (folder / LABELS_FILE).write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")


def describe_preprocess(preprocess: Preprocess) -> str:
    """What is done to an image before the network, in words and numbers, for whoever does it in another language."""
    shrunk = "weighing all pixels (as Pillow)" if preprocess.antialias else "of the nearest four pixels (as OpenCV)"
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (preprocess.mean, preprocess.std))
    return (
        f"Scale the image by one factor until it fits into {preprocess.width}x{preprocess.height}, bilinear, {shrunk}; "
        f"put it into the top-left corner; fill the rest with {preprocess.pad}; channels are {preprocess.order}, "
        f"levels 0 to 255. Of each channel subtract ({mean}) and divide by ({std})."
    )


def write_readme(folder: Path, paragraphs: Sequence[str]) -> None:
    """`README.txt`: paragraphs, wrapped; those that begin with blanks are left as they are."""
    wrapped = (text if text.startswith(" ") else textwrap.fill(text, 96) for text in paragraphs)
    (folder / README_FILE).write_text("\n\n".join(wrapped) + "\n", encoding="utf-8")
