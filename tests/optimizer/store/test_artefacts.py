"""Files by content hash: whole or not there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from optimizer.errors import InputError, RunFailed
from optimizer.store import ArtefactStore
from optimizer.store import artefacts as module


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path / "artefacts")


def test_a_file_lies_under_the_hash_of_its_content(store: ArtefactStore, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"123" * 10**6)
    digest = store.put_file(tmp_path / "weights")
    assert digest == hashlib.sha256(b"123" * 10**6).hexdigest()
    assert store.path(digest, verify=True).read_bytes() == b"123" * 10**6
    assert store.put_file(tmp_path / "weights") == digest
    assert len(list((tmp_path / "artefacts").iterdir())) == 1


def test_a_missing_and_an_altered_file_are_said_to_be_so(store: ArtefactStore, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"123")
    digest = store.put_file(tmp_path / "weights")
    store.path(digest).write_bytes(b"124")
    with pytest.raises(InputError, match="damaged"):
        store.path(digest, verify=True)
    with pytest.raises(InputError, match="artefact 000000000000 is missing"):
        store.path("0" * 64)


def test_a_full_disk_leaves_nothing(store: ArtefactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").write_bytes(b"123")

    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"1")
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(module.shutil, "copyfile", full)
    with pytest.raises(RunFailed, match="No space left on device; free some space, then resume the run"):
        store.put_file(tmp_path / "weights")
    assert not list((tmp_path / "artefacts").iterdir())


def test_what_a_killed_process_left_half_written_is_cleared(store: ArtefactStore, tmp_path: Path) -> None:
    for name in ("weights.part", f".{'a' * 64}.0123456789abcdef.part"):
        (tmp_path / "artefacts" / name).write_bytes(b"1")
    ArtefactStore(tmp_path / "artefacts", writable=False)
    assert len(list((tmp_path / "artefacts").iterdir())) == 2, "a reader changes nothing"
    ArtefactStore(tmp_path / "artefacts")
    assert not list((tmp_path / "artefacts").iterdir())


def test_the_folder_of_the_files_is_on_the_disk_before_any_row_can_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    real = os.fsync

    def watch(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr("os.fsync", watch)
    (tmp_path / "weights").write_bytes(b"123")
    digest = ArtefactStore(tmp_path / "run" / "artefacts").put_file(tmp_path / "weights")
    folder = tmp_path / "run" / "artefacts"
    assert flushed[0] == folder.parent and flushed[-1] == folder
    assert flushed[1].parent == folder and flushed[1].name.startswith(f".{digest}."), "the file before its folder"
