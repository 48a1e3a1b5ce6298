"""What travels to workers that do not see the run's folder: folders as archives, and files, each by its hash."""

from __future__ import annotations

import atexit
import hashlib
import io
import os
import shutil
import stat
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from deploy.data.find import Tree
from optimizer.config import RunConfig
from optimizer.errors import InputError, RunFailed
from optimizer.store.lock import take_lock
from optimizer.workers.order import Order

__all__ = ["Parcel", "Sender", "check_unpacking", "make_own_folder", "move_order", "name_folder", "unpack"]

RUN, DATA, POOL, WEIGHTS = "run", "data", "pool", "weights"  # in a worker's own folder
FILES = f"{RUN}/artefacts"
OWN, YOUNG_S = "detopt-worker-", 60.0  # folders of workers, and how long one may be without its lock
KEPT_FILES = 8  # weights and states of parents that are likely to be asked for again

_held: list[BinaryIO] = []  # the lock of this process' own folder


class Parcel(NamedTuple):
    """A file or the archive of a folder.

    Attributes:
        place: where it belongs, relative to the worker's own folder.
        content: its bytes, or what Ray calls them.
    """

    place: str
    sha256: str
    content: Any
    is_folder: bool


class Sender:
    """Packs what orders need; a folder once, for all workers and orders of the run.

    Args:
        put: where bytes go that workers fetch: Ray's object store.
    """

    def __init__(self, put: Callable[[bytes], Any]) -> None:
        self._put = put
        self._pack_images = lru_cache(maxsize=None)(self._pack_images_anew)
        self._pack_folder = lru_cache(maxsize=None)(self._pack_folder_anew)
        self._pack_file = lru_cache(maxsize=KEPT_FILES)(self._pack_file_anew)

    def pack(self, order: Order, config: RunConfig, number: int, files: Sequence[str]) -> list[Parcel]:
        """All that the order of this trial needs, the images first; `files` are hashes of the run's artefacts.

        Raises:
            RunFailed: some of it cannot be read.
        """
        data = config.data or order.folder / DATA
        parcels = [self._pack_images(data, DATA if config.data is not None else f"{RUN}/{DATA}")]
        if order.pool is not None:
            parcels.append(self._pack_folder(order.pool, f"{POOL}/{order.pool.name}"))
        if number == 0 and isinstance(config.weights, Path):
            parcels.append(self._pack_file(config.weights, f"{WEIGHTS}/{config.weights.name}"))
        taught = [] if order.teacher is None else [Path(order.teacher["weights"]).name]
        for name in dict.fromkeys([*files, *taught]):
            parcels.append(self._pack_file(order.folder / "artefacts" / name, f"{FILES}/{name}"))
        return parcels

    def _pack_images_anew(self, folder: Path, place: str) -> Parcel:
        """What is read of a data set, and no hidden file, link to nothing or circle of links."""
        tree = Tree(folder)
        return self._pack(place, [(tree.path(name), name or ".", False) for name in (*tree.folders, *tree.files)])

    def _pack_folder_anew(self, folder: Path, place: str) -> Parcel:
        return self._pack(place, [(folder, ".", True)])

    def _pack(self, place: str, added: Sequence[tuple[Path, str, bool]]) -> Parcel:
        """Paths, their names in the archive, and whether all that is in them is packed too."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", dereference=True) as archive:
            for path, name, whole in added:
                with _readable(path):
                    archive.add(path, arcname=name, recursive=whole)
        return self._make(place, packed.getvalue(), True)

    def _pack_file_anew(self, path: Path, place: str) -> Parcel:
        with _readable(path):
            content = path.read_bytes()
        return self._make(place, content, False)

    def _make(self, place: str, content: bytes, is_folder: bool) -> Parcel:
        return Parcel(place, hashlib.sha256(content).hexdigest(), self._put(content), is_folder)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunFailed(f"{error.filename or path} cannot be sent to workers: {error.strerror or error}") from error


def check_unpacking() -> None:
    """Refuse a Python that cannot be told to unpack inside a folder alone.

    Raises:
        InputError: it is that old.
    """
    if not hasattr(tarfile, "data_filter"):
        raise InputError("--no-shared-folder needs Python 3.10.12, 3.11.4 or later, whose archives are safe to unpack")


@lru_cache(maxsize=1)
def make_own_folder() -> Path:
    """A folder of this process for as long as it is there; what died before it could remove its own is removed."""
    now = time.time()
    for left in Path(tempfile.gettempdir()).glob(f"{OWN}*"):
        try:
            found = left.lstat()
            is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
            if not is_ours or now - found.st_mtime < YOUNG_S:
                continue
            with take_lock(left):
                shutil.rmtree(left, ignore_errors=True)
        except (InputError, OSError):
            continue  # somebody works there
    own = Path(tempfile.mkdtemp(prefix=OWN))
    _held.append(take_lock(own))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def unpack(parcels: Sequence[Parcel], own: Path, fetch: Callable[[Any], bytes]) -> None:
    """Put what is not there yet into a worker's own folder; of earlier parents nothing stays.

    Raises:
        RunFailed: what arrived is not what was sent, or no archive.
        InputError: this Python cannot unpack it safely.
    """
    check_unpacking()
    (own / FILES).mkdir(parents=True, exist_ok=True)
    wanted = {parcel.place for parcel in parcels}
    for path in (own / FILES).glob("*"):
        if f"{FILES}/{path.name}" not in wanted:
            path.unlink()
    for parcel in parcels:
        path = own / parcel.place
        if path.exists():
            continue
        content = fetch(parcel.content)
        if hashlib.sha256(content).hexdigest() != parcel.sha256:
            raise RunFailed(f"{parcel.place} arrived damaged: it is not the one with the SHA-256 {parcel.sha256[:12]}")
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        if parcel.is_folder:
            shutil.rmtree(part, ignore_errors=True)
            try:
                with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                    archive.extractall(part, filter="data")
            except tarfile.TarError as error:
                raise RunFailed(f"{parcel.place} cannot be unpacked: {error}") from error
        else:
            part.write_bytes(content)
        part.rename(path)


def name_folder(order: Order, parcels: Sequence[Parcel]) -> str:
    """Of a run and its images: a process may work for several."""
    return hashlib.sha256(f"{order.folder} {parcels[0].sha256}".encode()).hexdigest()[:16]


def move_order(order: Order, config: RunConfig, own: Path) -> Order:
    """The same order, of what lies in a worker's own folder."""
    changes: dict[str, object] = {}
    if config.data is not None:
        changes["data"] = own / DATA
    if isinstance(config.weights, Path):
        changes["weights"] = own / WEIGHTS / config.weights.name
    teacher = order.teacher
    if teacher is not None:
        teacher = {**teacher, "weights": str(own / FILES / Path(teacher["weights"]).name)}
    moved = {
        "config": config.changed(changes).model_dump_json(),
        "folder": own / RUN,
        "pool": None if order.pool is None else own / POOL / order.pool.name,
        "teacher": teacher,
    }
    return order.model_copy(update=moved)
