"""What is written is whole or not there, whatever happens to its writer; a lock has one holder."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.files import LockBusy, hash_file, replace_file, replace_folder, take_lock, wait_for_lock, write_file

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from deploy.files import replace_file, replace_folder
with (replace_folder if sys.argv[1] == "folder" else replace_file)(Path(sys.argv[2])) as aside:
    (aside / "half" if aside.is_dir() else aside).write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
HOLDING = "import sys; from pathlib import Path; from deploy.files import *; file = take_lock(Path(sys.argv[1])); {}"


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_file(path, b"old")
    write_file(path, b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]
    assert hash_file(path) == hashlib.sha256(b"new").hexdigest()


def test_a_file_stays_as_it_was_if_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_file(path, b"old")
    with pytest.raises(KeyError), replace_file(path) as aside:
        aside.write_bytes(b"new")
        raise KeyError
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"precious")
    (tmp_path / "a").symlink_to(elsewhere)
    write_file(tmp_path / "a", b"new")
    assert elsewhere.read_bytes() == b"precious" and not (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("mode", [0o666, 0o600])
def test_permissions_are_the_asked_ones_less_the_mask(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o022)
    try:
        write_file(tmp_path / "a", b"", mode)
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode & ~0o022


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_process_left_goes_and_what_is_being_written_stays(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, kind, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL and list(tmp_path.iterdir()) and not path.exists()
    replace = replace_folder if kind == "folder" else replace_file
    with replace(path) as first, replace(path):
        assert first.exists()
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "a"
    for name in ("one", "two"):
        with replace_folder(folder) as aside:
            (aside / "deep").mkdir()
            (aside / "deep" / name).write_text(name)
    assert [path.name for path in (folder / "deep").iterdir()] == ["two"]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_stays_as_it_was_if_filling_it_fails(tmp_path: Path) -> None:
    with replace_folder(tmp_path / "a") as aside:
        (aside / "old").touch()
    with pytest.raises(KeyError), replace_folder(tmp_path / "a") as aside:
        raise KeyError
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "old"]


def test_a_lock_names_its_holder_and_is_free_once_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with take_lock(path):
        with pytest.raises(LockBusy) as caught:
            take_lock(path)
        assert caught.value.holder == str(os.getpid())
    take_lock(path).close()


def test_a_lock_is_free_once_its_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    words = [sys.executable, "-c", HOLDING.format("print(flush=True); input()"), str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline()
        waited_for: list[str] = []
        with pytest.raises(LockBusy):
            wait_for_lock(path, 0.25, waited_for.append)
        assert waited_for == [str(holder.pid)]
        holder.kill()
    wait_for_lock(path).close()


def test_a_link_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        take_lock(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()
