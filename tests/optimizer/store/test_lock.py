"""One writer a folder: refused at once, or waited for."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deploy import locks
from optimizer.errors import InputError
from optimizer.store.lock import FolderBusy, take_lock, wait_for_lock

HOLDER = """
import sys
from pathlib import Path
from optimizer.store.lock import take_lock
held = take_lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "POLL_S", 0.01)


def test_a_free_lock_is_had_without_a_word_and_given_back(tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        with wait_for_lock(tmp_path, said.append), pytest.raises(FolderBusy, match="another process is working on"):
            take_lock(tmp_path)
    assert said == []
    take_lock(tmp_path).close()


def test_it_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), wait_for_lock(tmp_path, pytest.fail):
        raise KeyboardInterrupt
    take_lock(tmp_path).close()


def test_it_waits_says_so_once_and_has_it_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    naps: list[float] = []
    held = take_lock(tmp_path)

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 4:
            held.close()

    monkeypatch.setattr("time.sleep", nap)
    with wait_for_lock(tmp_path, said.append):
        assert naps == [0.01] * 4
        with pytest.raises(FolderBusy):
            take_lock(tmp_path)
    assert said == [f"waiting for another process that is working on {tmp_path}"]


def test_it_waits_for_a_process_until_that_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    told, had = threading.Event(), threading.Event()

    def wait() -> None:
        with wait_for_lock(tmp_path, lambda text: told.set()):
            had.set()

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    try:
        assert told.wait(20) and not had.wait(0.2)
    finally:
        holder.kill()
        holder.communicate()
    assert had.wait(20)
    waiting.join(20)


def test_it_does_not_wait_without_limit(tmp_path: Path) -> None:
    said: list[str] = []
    words = r"process \d+ has been working on .* for 0\.05 s; go on when it has finished"
    with take_lock(tmp_path), pytest.raises(FolderBusy, match=words), wait_for_lock(tmp_path, said.append, 0.05):
        pass
    assert len(said) == 1


def test_a_folder_that_is_not_there_is_no_reason_to_wait(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write in") as caught, wait_for_lock(tmp_path / "absent", pytest.fail):
        pass
    assert not isinstance(caught.value, FolderBusy)
