"""Which label file of YOLO's is that of an image: people keep them in many places, and each is of one image alone."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator

from deploy.data.find import Tree, stem_of
from deploy.data.records import Problem

__all__ = ["CLASS_LISTS", "LabelFiles"]

CLASS_LISTS = ("classes.txt", "obj.names", "names.txt", "labels.txt", "predefined_classes.txt")
NOT_LABELS = (*CLASS_LISTS, "train.txt", "val.txt", "valid.txt", "test.txt", "readme.txt", "license.txt")


class LabelFiles:
    """The label files of a folder, and the image of each."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._texts: dict[str, str] = {}
        for name in tree.files_of(".txt"):
            self._texts.setdefault(stem_of(name), name)
        self._images: dict[str, list[str]] = {}
        for name in tree.images:
            self._images.setdefault(stem_of(name), []).append(name)
        self._found = {stem: self._find(stem) for stem in self._images}
        self._sharing: dict[str, list[str]] = {}  # images of each label file, one for each stem
        for stem, labels in self._found.items():
            if labels is not None:
                self._sharing.setdefault(labels, []).append(self._images[stem][0])

    def of(self, image: str) -> str | None:
        """The label file of an image; None where there is none."""
        return self._found[stem_of(image)]

    def others(self, image: str) -> list[str]:
        """Other images that the label file of this one may be of as well: nothing tells whose it is."""
        labels = self.of(image)
        return [] if labels is None else [name for name in self._sharing[labels] if stem_of(name) != stem_of(image)]

    def twins(self) -> list[Problem]:
        """A problem for each label file that pictures of two formats have, which are taken for the same picture."""
        return [
            Problem(
                self._tree.path(labels), None, "images of one name", f"it is of {' and '.join(names)}", "both taken"
            )
            for stem, names in self._images.items()
            if len(names) > 1
            for labels in [self._found[stem]]
            if labels is not None
        ]

    def orphans(self, used: Iterable[str]) -> Iterator[Problem]:
        """Label files without an image anywhere, in the folders of those that are used."""
        folders = {posixpath.dirname(name) for name in used}
        stems = {posixpath.basename(stem) for stem in self._images}
        strange: dict[str, str] = {}
        for name in self._tree.files:
            if not name.lower().endswith(".txt"):
                strange.setdefault(stem_of(posixpath.basename(name)), posixpath.basename(name))
        for name in self._tree.files_of(".txt"):
            folder, base = posixpath.split(name)
            if folder in folders and base.lower() not in NOT_LABELS and stem_of(base) not in stems:
                text = "there is no image of its name"
                if stem_of(base) in strange:
                    text += f" that can be read, but {strange[stem_of(base)]!r}"
                yield Problem(self._tree.path(name), None, "labels without image", text, "not taken")

    def _find(self, image: str) -> str | None:
        for stem in _list_own(image):
            if stem in self._texts:
                return self._texts[stem]
        for stem in _list_near(image):
            if stem in self._texts and not any(owner in self._images for owner in _list_owners(stem)):
                return self._texts[stem]
        return None


def _list_own(image: str) -> Iterator[str]:
    """Where no other image has its labels, the likeliest first; loosened paths without endings."""
    yield from _exchange(image, "images", "labels")
    yield image


def _list_near(image: str) -> Iterator[str]:
    """Where another image may have its labels, too."""
    parts = image.split("/")
    yield "/".join([*parts[:-1], "labels", parts[-1]])
    if len(parts) > 1:
        yield "/".join([*parts[:-2], "labels", parts[-1]])
        yield "/".join(["labels", *parts])
    for position in reversed(range(len(parts) - 1)):  # images/train/1.jpg beside images/train/labels
        if parts[position] == "images":
            yield "/".join([*parts[:position], *parts[position + 1 :]])


def _list_owners(labels: str) -> Iterator[str]:
    """The images that have these labels for their own."""
    yield from _exchange(labels, "labels", "images")
    yield labels


def _exchange(path: str, old: str, new: str) -> Iterator[str]:
    """The path with one of its folders called otherwise, the last one first."""
    parts = path.split("/")
    for position in reversed(range(len(parts) - 1)):
        if parts[position] == old:
            yield "/".join([*parts[:position], new, *parts[position + 1 :]])
