"""What is written is whole or not there, whatever happens to its writer; a lock has one holder."""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.builders.plans import lock_plans
from deploy.errors import EngineError
from deploy.files import hash_file, open_to_append, replace_file, replace_folder, write_file
from deploy.locks import LONGEST_WAIT_S, LockBusy, take_lock, wait_for_lock

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from deploy.files import replace_file, replace_folder
with (replace_folder if sys.argv[1] == "folder" else replace_file)(Path(sys.argv[2])) as aside:
    (aside / "half" if aside.is_dir() else aside).write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
HOLDING = "import sys; from pathlib import Path; from deploy.locks import *; file = take_lock(Path(sys.argv[1])); {}"


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


def test_a_link_to_a_folder_stays_and_what_it_points_at_is_replaced(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "real"
    (tmp_path / "a").symlink_to(real)
    for name in ("one", "two"):
        with replace_folder(tmp_path / "a") as aside:
            (aside / name).touch()
    assert (tmp_path / "a").is_symlink() and [path.name for path in real.iterdir()] == ["two"]
    assert list(real.parent.iterdir()) == [real]


def test_a_turn_is_not_waited_for_without_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.files.TURN_S", 0.05)
    descriptor = os.open(tmp_path, os.O_RDONLY)  # any user who may read a folder can lock it
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(OSError, match=r"another process has locked it for 0\.05 s"), replace_folder(tmp_path / "a"):
        pass
    assert not list(tmp_path.iterdir())
    os.close(descriptor)
    with replace_folder(tmp_path / "a"):
        pass


def test_no_lock_is_waited_for_without_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert math.isfinite(LONGEST_WAIT_S)
    monkeypatch.setattr("deploy.builders.plans.LONGEST_WAIT_S", 0.05)
    said = rf"process {os.getpid()} has been building in .* for 0\.05 s"
    with take_lock(tmp_path / "lock"), pytest.raises(EngineError, match=said), lock_plans(tmp_path):
        pass
    with lock_plans(tmp_path):
        pass


REPLACING = """
import sys; from pathlib import Path; from deploy.files import replace_folder
for number in range(15):
    with replace_folder(Path(sys.argv[1])) as aside:
        (aside / "content").write_text("whole")
"""


@pytest.mark.parametrize("way", ["at once", "by two renames"])
def test_writers_of_one_folder_all_succeed_and_a_reader_always_finds_one(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "a"
    with replace_folder(folder) as aside:
        (aside / "content").write_text("whole")
    without = "import ctypes; ctypes.CDLL = lambda *a, **k: None\n" if way != "at once" else ""
    words = [sys.executable, "-c", without + REPLACING, str(folder)]
    writers = [subprocess.Popen(words) for _ in range(2)]
    while any(writer.poll() is None for writer in writers):
        assert way != "at once" or folder.exists()
    assert [writer.returncode for writer in writers] == [0, 0]
    assert list(tmp_path.iterdir()) == [folder] and (folder / "content").read_text() == "whole"


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_only_a_plain_file_is_appended_to(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "log"
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        os.mkfifo(path)
    with pytest.raises(OSError):
        os.close(open_to_append(path))
    assert not (tmp_path / "elsewhere").exists()


def test_what_is_appended_comes_last(tmp_path: Path) -> None:
    for text in (b"one", b"two"):
        descriptor = open_to_append(tmp_path / "log")
        os.write(descriptor, text)
        os.close(descriptor)
    assert (tmp_path / "log").read_bytes() == b"onetwo"


def test_a_pipe_is_no_lock(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(OSError, match="no plain file"):
        take_lock(tmp_path / "lock")


def test_a_lock_for_all_users_is_theirs_whatever_the_first_ones_mask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        take_lock(tmp_path / "ours", for_all_users=True).close()
        take_lock(tmp_path / "mine").close()
    finally:
        os.umask(before)
    assert (tmp_path / "ours").stat().st_mode & 0o777 == 0o666 and (tmp_path / "mine").stat().st_mode & 0o777 == 0o600


FORKING = "pid = os.fork() or time.sleep(60); print(pid, flush=True); input()"


def test_a_forked_child_does_not_keep_the_lock_of_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    words = [sys.executable, "-c", "import os, time; " + HOLDING.format(FORKING), str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        with pytest.raises(LockBusy):
            take_lock(path)
        holder.kill()
        holder.wait()
        try:
            os.kill(child, 0)
            wait_for_lock(path, 2).close()
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("content", [b"\x1b[2J\x07", b"12 of the others", b"\xff", b"", b"-1"])
def test_what_others_wrote_into_a_lock_is_not_shown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lock"
    with take_lock(path):
        path.write_bytes(content)
        with pytest.raises(LockBusy, match="process unknown holds"):
            take_lock(path)
