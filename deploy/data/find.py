"""The files of a data set's folder, and which of them a label file means by a name written on another machine."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from deploy.data.images import image_endings
from deploy.data.records import Problem
from deploy.errors import InputError

__all__ = ["Found", "Tree", "describe_lost", "describe_moved", "find_alike", "leads_out", "loosen", "stem_of"]

MOST = 5_000_000  # files and folders
NOT_DATA = ("__MACOSX", "@eaDir")  # what unpacking and network disks leave behind


class Found(NamedTuple):
    """What a name stands for.

    Attributes:
        path: relative to the folder, or None.
        problem: why there is no path, as the kind of a `Problem`; of a path, empty or how it was found.
    """

    path: str | None
    problem: str


class Tree:
    """Everything below a folder, listed once, as paths relative to it with "/" between their parts.

    Links are followed, but not round in a circle: people keep pictures on another disk. A name in a label file never
    leads out of the folder; a link in the folder may, and `check_dataset` says so. Hidden files and folders are left
    aside.

    Attributes:
        root: the folder. files, folders: below it, in order; the root itself is the folder "".
        links: the files and folders that are links, whatever they point to.

    Raises:
        InputError: it cannot be listed, or holds more than five million files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        files: list[str] = []
        folders = [""]
        self.links: list[str] = []
        try:
            for name, is_folder, is_link in _walk(str(root), "", ()):
                (folders if is_folder else files).append(name)
                if is_link:
                    self.links.append(name)
                if len(files) + len(folders) > MOST:
                    raise InputError(f"{root} holds more than {MOST} files: name the data set's own folder")
        except OSError as error:
            raise InputError(f"{root} cannot be listed: {error.strerror}") from error
        self.files, self.folders = sorted(files), sorted(folders)
        self._known = set(files)
        self._index: dict[str, dict[str, list[str]]] = {}
        endings = image_endings()
        self.images = [name for name in self.files if posixpath.splitext(name)[1].lower() in endings]

    def path(self, name: str) -> Path:
        """Where something of the tree is."""
        return self.root / name

    def has(self, name: str) -> bool:
        """Whether there is a file of exactly this name."""
        return name in self._known

    def files_of(self, *endings: str) -> list[str]:
        """The files whose names end so, in any case."""
        return [name for name in self.files if name.lower().endswith(endings)]

    def images_below(self, folder: str) -> list[str]:
        """The images inside a folder, at any depth."""
        return [name for name in self.images if not folder or name.startswith(folder + "/")]

    def resolve(self, stated: Sequence[str], near: Sequence[str] = ("",)) -> list[Found]:
        """The image that each name means; `near` are the folders that names may be relative to, the likeliest first.

        A name that is there as it is written is taken first. What is left is looked for by as much of its end as is
        there: separators of either kind, percent signs, forms of Unicode, case, the query of an address, and folders of
        another machine do not matter. A file that has been taken, or that two names could mean, is not guessed.
        """
        exact = [self._find_exactly(name, near) for name in stated]
        taken = {path for path in exact if path is not None}
        guesses: list[str | None] = []
        for name, path in zip(stated, exact):
            best = None if path is not None else self._find_alike(name, near)
            guesses.append(None if best in taken else best)
        counts: dict[str, int] = {}
        for guess in guesses:
            if guess is not None:
                counts[guess] = counts.get(guess, 0) + 1
        found = []
        for name, path, guess in zip(stated, exact, guesses):
            if path is not None:
                found.append(Found(path, ""))
            elif guess is not None and counts[guess] == 1:
                found.append(Found(guess, "found by the end of its path"))
            else:
                found.append(Found(None, self._explain(name)))
        return found

    def find_folder(self, stated: str) -> str | None:
        """The folder of this name, or of the most of its end that only one folder has."""
        exact = _join("", stated)
        if exact is not None and exact in self.folders:
            return exact
        return _best(stated, self._alike("folders", self.folders, stated), ("",))

    def find_file(self, stated: str, *endings: str) -> str | None:
        """The file of this name, or of the most of its end that only one file with such an ending has."""
        exact = _join("", stated)
        if exact is not None and exact in self._known:
            return exact
        listed = self.files_of(*endings)
        return _best(stated, self._alike(" ".join(endings), listed, stated), ("",))

    def _find_exactly(self, name: str, near: Sequence[str]) -> str | None:
        for folder in near:
            path = _join(folder, name)
            if path is not None and path in self._known:
                return path
        return None

    def _find_alike(self, name: str, near: Sequence[str]) -> str | None:
        for form in (name, *_leave_query(name)):
            found = _best(form, self._alike("images", self.images, form), near)
            if found is not None:
                return found
        return None

    def _explain(self, name: str) -> str:
        if leads_out(name):
            return "path outside"
        return "ambiguous image" if len(self._alike("images", self.images, name)) > 1 else "missing image"

    def _alike(self, kind: str, names: Iterable[str], stated: str) -> list[str]:
        """Those that end in the same name, nearly."""
        if kind not in self._index:
            index: dict[str, list[str]] = {}
            for name in names:
                index.setdefault(loosen(posixpath.basename(name)), []).append(name)
            self._index[kind] = index
        parts = _split(stated)
        return self._index[kind].get(parts[-1], []) if parts else []


def describe_moved(labels: Path, stated: Sequence[str], found: Sequence[Found]) -> list[Problem]:
    """One problem that says how many names were found by their ends alone, with one of them; none without any."""
    moved = [(name, item.path) for name, item in zip(stated, found) if item.path is not None and item.problem]
    if not moved:
        return []
    text = f"{len(moved)} of {len(stated)} images have another path here, as {moved[0][1]!r} for {moved[0][0]!r}"
    return [Problem(labels, None, "path of another machine", text, "found by its end")]


def describe_lost(name: str, problem: str, root: Path) -> str:
    """Why there is no image of this name, in words; `problem` is what `Tree.resolve` found."""
    if problem == "ambiguous image":
        return f"image {name!r} may be one of several files of that name in {root}"
    return f"image {name!r} lies outside {root}" if problem == "path outside" else f"image {name!r} is not in {root}"


def find_alike(path: Path) -> Path:
    """The path itself if it is there, else the only one whose parts are nearly called so; itself again without one."""
    if path.exists() or "\0" in str(path):
        return path
    if "\\" in str(path):
        inner = find_alike(Path(str(path).replace("\\", "/")))
        return inner if inner.exists() else path
    found = Path(path.anchor or ".")
    for part in path.parts[1:] if path.anchor else path.parts:
        if not (found / part).exists():
            try:
                alike = [item.name for item in found.iterdir() if loosen(item.name) == loosen(part)]
            except OSError:
                return path
            if len(alike) != 1:
                return path
            part = alike[0]
        found = found / part
    return found


def loosen(name: str) -> str:
    """A name without what differs between machines: percent signs, forms of Unicode, case."""
    if "%" in name:
        name = unquote(name, errors="surrogateescape")
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


def stem_of(name: str) -> str:
    """A loosened relative path without its ending."""
    return loosen(posixpath.splitext(name)[0])


def leads_out(name: str) -> bool:
    """Whether a name is of a place outside the folder that it is relative to."""
    slashed = name.replace("\\", "/")
    return _join("", slashed) in (None, "") or slashed[1:3] == ":/"


def _join(folder: str, name: str) -> str | None:
    """The relative path, or None where it is not inside."""
    if "\0" in name or name.startswith("/"):
        return None
    path = posixpath.normpath(posixpath.join(folder, name))
    if path == "..":
        return None
    return "" if path == "." else None if path.startswith("../") else path


def _leave_query(name: str) -> Iterator[str]:
    """Of an address with a query the path that it is about: that of Label Studio's local files, else what is before."""
    before, mark, query = name.partition("?")
    if mark:
        if query.startswith("d="):
            yield query[2:]
        yield before


def _split(stated: str) -> list[str]:
    return [loosen(part) for part in stated.replace("\\", "/").split("/") if part not in ("", ".", "..")]


def _best(stated: str, candidates: Sequence[str], near: Sequence[str]) -> str | None:
    """The one that shares the most of the end; of several that do, the only one in the nearest folder."""
    parts = _split(stated)[::-1]
    ranked = []
    for candidate in candidates:
        shared = 0
        for one, other in zip(parts, reversed(candidate.split("/"))):
            if one != loosen(other):
                break
            shared += 1
        place = next(
            (i for i, folder in enumerate(near) if not folder or candidate.startswith(folder + "/")), len(near)
        )
        if shared > 1 or place < len(near):  # elsewhere a file of the same name alone is likely another image
            ranked.append((-shared, place, candidate))
    ranked.sort()
    if not ranked or (len(ranked) > 1 and ranked[0][:2] == ranked[1][:2]):
        return None
    return ranked[0][2]


def _walk(top: str, below: str, outer: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, bool, bool]]:
    """(relative path, whether it is a folder, whether it is a link) of everything below."""
    about = os.stat(top)  # noqa: PTH116 (of a hundred thousand files)
    chain = (*outer, (about.st_dev, about.st_ino))
    with os.scandir(top) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in NOT_DATA:
                continue
            name = f"{below}/{entry.name}" if below else entry.name
            try:
                if not entry.is_dir():
                    if entry.is_file():
                        yield name, False, entry.is_symlink()
                    continue
                linked = entry.stat()
            except OSError:
                continue
            if (linked.st_dev, linked.st_ino) not in chain:
                yield name, True, entry.is_symlink()
                try:
                    yield from _walk(entry.path, name, chain)
                except PermissionError:
                    continue
