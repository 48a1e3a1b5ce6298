"""What is sent to workers: it arrives as it was, each thing once, and is not looked for where it came from."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.data.find import Tree
from optimizer.config import RunConfig, parse_config
from optimizer.errors import InputError, RunFailed
from optimizer.recipes import smoke
from optimizer.store.lock import take_lock
from optimizer.workers import parcels
from optimizer.workers.order import Order
from optimizer.workers.parcels import Parcel, Sender, move_order, name_folder, unpack

PARENT, TEACHER = "a" * 64, "b" * 64


@dataclass
class Store:
    """Keeps bytes under numbers, and counts what is fetched."""

    kept: list[bytes] = field(default_factory=list)
    fetched: list[int] = field(default_factory=list)

    def put(self, content: bytes) -> int:
        self.kept.append(content)
        return len(self.kept) - 1

    def fetch(self, number: int) -> bytes:
        self.fetched.append(number)
        return self.kept[number]


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """Of a run with images, a pool and two artefacts."""
    there = tmp_path / "there"
    for name in ("images/val/1.png", "pool-1/phase-2", f"run/artefacts/{PARENT}", f"run/artefacts/{TEACHER}"):
        path = there / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (there / "images" / "linked.png").symlink_to(there / "pool-1" / "phase-2")
    config = smoke(there / "images").changed({"weights": there / "start.pth"})
    (there / "start.pth").write_text("weights")
    weights = str(there / "run" / "artefacts" / TEACHER)
    return Order(
        config=config.model_dump_json(), target={}, folder=there / "run", trial="{}", pool=there / "pool-1",
        teacher={"arch": {}, "weights": weights},
    )  # fmt: skip


def parse_config_of(order: Order) -> RunConfig:
    return parse_config(json.loads(order.config))


def read(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_all_that_an_order_names_is_in_the_workers_own_folder(tmp_path: Path, order: Order) -> None:
    store, own, config = Store(), tmp_path / "own", parse_config_of(order)
    unpack(Sender(store.put).pack(order, config, 0, [PARENT]), own, store.fetch)
    assert read(own) == {
        "data/val/1.png": "images/val/1.png", "data/linked.png": "pool-1/phase-2", "pool/pool-1/phase-2":
        "pool-1/phase-2", "weights/start.pth": "weights", f"run/artefacts/{PARENT}": f"run/artefacts/{PARENT}",
        f"run/artefacts/{TEACHER}": f"run/artefacts/{TEACHER}",
    }  # fmt: skip
    moved = move_order(order, config, own)
    assert str(tmp_path / "there") not in moved.model_dump_json()
    there = parse_config_of(moved)
    assert there.data == own / "data" and there.weights == own / "weights" / "start.pth"
    assert (moved.folder, moved.pool) == (own / "run", own / "pool" / "pool-1")
    assert moved.teacher is not None and Path(moved.teacher["weights"]).read_text() == f"run/artefacts/{TEACHER}"


def test_of_images_no_more_is_sent_than_is_read(tmp_path: Path, order: Order) -> None:
    store, own, images = Store(), tmp_path / "own", tmp_path / "there" / "images"
    (images / "empty").mkdir()
    (images / ".git").mkdir()
    (images / ".git" / "secret").touch()
    (images / "val" / "round").symlink_to(images)
    (images / "lost.png").symlink_to(tmp_path / "nowhere.png")
    (images / "linked").symlink_to(tmp_path / "there" / "pool-1")
    unpack(Sender(store.put).pack(order, parse_config_of(order), 1, []), own, store.fetch)
    sent = {path.relative_to(own / "data").as_posix() for path in (own / "data").rglob("*")}
    assert sent == {"val", "val/1.png", "linked.png", "empty", "linked", "linked/phase-2"}
    assert not any(path.is_symlink() for path in own.rglob("*"))


def test_what_cannot_be_read_is_named(tmp_path: Path, order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    config, image = parse_config_of(order), tmp_path / "there" / "images" / "val" / "1.png"
    with pytest.raises(RunFailed, match=f"{'c' * 64} cannot be sent to workers: No such file or directory"):
        Sender(Store().put).pack(order, config, 1, ["c" * 64])

    def list_and_lose(folder: Path) -> Tree:
        tree = Tree(folder)
        image.unlink()
        return tree

    monkeypatch.setattr(parcels, "Tree", list_and_lose)
    with pytest.raises(RunFailed, match=r"images/val/1\.png cannot be sent to workers: No such file or directory"):
        Sender(Store().put).pack(order, config, 1, [])


def test_what_is_there_is_neither_packed_nor_fetched_again_and_old_parents_go(tmp_path: Path, order: Order) -> None:
    store, own, config = Store(), tmp_path / "own", parse_config_of(order)
    sender = Sender(store.put)
    unpack(sender.pack(order, config, 1, [PARENT]), own, store.fetch)
    assert len(store.kept) == len(store.fetched) == 4, "the file that the base starts from is the base's alone"
    unpack(sender.pack(order, config, 2, []), own, store.fetch)
    assert len(store.kept) == len(store.fetched) == 4
    assert [path.name for path in (own / "run" / "artefacts").iterdir()] == [TEACHER]


def test_what_arrives_damaged_is_said_and_not_kept(tmp_path: Path, order: Order) -> None:
    store, own = Store(), tmp_path / "own"
    packed = Sender(store.put).pack(order, parse_config_of(order), 1, [PARENT])
    store.kept[-1] += b"!"
    with pytest.raises(RunFailed, match=f"run/artefacts/{TEACHER} arrived damaged"):
        unpack(packed, own, store.fetch)
    assert not (own / "run" / "artefacts" / TEACHER).exists()


def test_what_is_no_archive_is_said(tmp_path: Path) -> None:
    content = b"no archive"
    parcel = Parcel("data", hashlib.sha256(content).hexdigest(), content, True)
    with pytest.raises(RunFailed, match="data cannot be unpacked: "):
        unpack([parcel], tmp_path, bytes)
    assert not (tmp_path / "data").exists()


def test_a_python_that_would_unpack_anywhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(InputError, match=r"--no-shared-folder needs Python 3.10.12, 3.11.4 or later"):
        unpack([], tmp_path, bytes)


def test_what_a_worker_that_was_killed_left_is_removed_and_what_others_use_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead, young, busy = (tmp_path / f"{parcels.OWN}{name}" for name in ("dead", "young", "busy"))
    for folder in (dead, young, busy):
        (folder / "data").mkdir(parents=True)
    with take_lock(busy):
        for folder in (dead, busy):
            os.utime(folder, (0, 0))
        parcels.make_own_folder.cache_clear()
        own = parcels.make_own_folder()
        assert own == parcels.make_own_folder() and own.parent == tmp_path
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in (young, busy, own))


def test_of_other_users_nothing_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    theirs, file, link = (tmp_path / f"{parcels.OWN}{name}" for name in ("theirs", "file", "link"))
    theirs.mkdir()
    file.touch()
    link.symlink_to(theirs)
    for path in (theirs, file):
        os.utime(path, (0, 0))
    me = os.geteuid()
    monkeypatch.setattr("os.geteuid", lambda: me + 1)
    parcels.make_own_folder.cache_clear()
    own = parcels.make_own_folder()
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in (theirs, file, link, own)}
    assert not list(theirs.iterdir()), "not even a lock"


def test_a_process_that_works_for_two_runs_has_a_folder_for_each(tmp_path: Path, order: Order) -> None:
    packed = Sender(Store().put).pack(order, parse_config_of(order), 1, [])
    other = order.model_copy(update={"folder": tmp_path / "other"})
    assert name_folder(order, packed) == name_folder(order, packed) != name_folder(other, packed)
    images = [packed[0]._replace(sha256="c" * 64)]
    assert name_folder(order, images) != name_folder(order, packed)
