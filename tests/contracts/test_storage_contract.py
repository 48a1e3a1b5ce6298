"""What every writer of shared places keeps to: several at once all succeed, a reader finds a whole one at any moment.

A new writer enrols by an entry of `WRITERS`. Each is tried by processes of its own, since locks are between processes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy import open_bundle
from deploy.builders.plans import find_plan
from deploy.engines.plan import BuildSettings, PlanKey, Platform

pytestmark = pytest.mark.timeout(120)

PROCESSES, TIMES = 3, 6
SIZE = 200_000  # bytes: more than arrives in one write
KEY = PlanKey("0" * 64, Platform("10.3", "a GPU", "8.7", "12.6"), BuildSettings(3))
START = """
import os, sys, time
from pathlib import Path
place, mark = Path(sys.argv[1]), sys.argv[2]
os.umask(int(sys.argv[3], 8))
content = mark.encode() * {size}
"""
PLAIN = """
from deploy.files import replace_file
def write():
    with replace_file(place / "file") as aside:
        aside.write_bytes(content)
        pause()
"""
FOLDER = """
from deploy.files import replace_folder
def write():
    with replace_folder(place / "folder") as aside:
        (aside / "deep").mkdir()
        (aside / "deep" / "file").write_bytes(content)
        pause()
"""
BUNDLE = """
import deploy.bundles.bundle as module
from deploy import BundleManifest, Preprocess, write_bundle
def archive(path):
    path.write_bytes(content)
    pause()
module.write_archive = archive
(place.parent / mark).write_bytes(content)
def write():
    manifest = BundleManifest(mark, "0" * 12, {}, ("cat",), Preprocess(8, 8))
    write_bundle(place / "bundle", place.parent / mark, manifest)
"""
PLAN = """
from deploy.builders.plans import lock_plans, write_plan
from deploy.engines.plan import BuildSettings, PlanKey, Platform
key = PlanKey("0" * 64, Platform("10.3", "a GPU", "8.7", "12.6"), BuildSettings(3))
def write():
    with lock_plans(place):
        write_plan(place, key, content, {})
        pause()
"""
ARTEFACT = """
from optimizer.store import artefacts as module
source = place.parent / f"source-{os.getpid()}"
source.write_bytes(b"x" * 200_000)
store = module.ArtefactStore(place / "artefacts")
def write():
    store.put_file(source)
    pause()
"""
LOOP = """
def pause(): pass
print("ready", flush=True)
sys.stdin.readline()
for _ in range({times}): write()
"""
STUCK = """
def pause():
    print("stuck", flush=True)
    time.sleep(600)
print("ready", flush=True)
sys.stdin.readline()
write()
"""


@dataclass(frozen=True)
class Writer:
    """How something is written, and how it is read: None where it is not there, an error where it is not whole.

    Attributes:
        gap: whether for a moment there may be none, since it is made of two files that have to fit.
        waits: whether others wait for a writer that is stuck, instead of going ahead.
    """

    code: str
    read: Callable[[Path], bytes | None]
    gap: bool = False
    waits: bool = False


def read_file(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def read_bundle(place: Path) -> bytes | None:
    for _ in range(20):  # it may be replaced between one file and the next: the folder is, and then it is read again
        if not (place / "bundle").exists():
            return None
        try:
            return open_bundle(place / "bundle").manifest.name.encode() * SIZE
        except Exception as error:
            last = error
    raise last


def read_plan(place: Path) -> bytes | None:
    plan, _ = find_plan(place, KEY)
    return None if plan is None else plan.content


def read_artefact(place: Path) -> bytes | None:
    found = [path for path in (place / "artefacts").glob("*") if not path.name.startswith(".")]
    assert len(found) <= 1
    return read_file(found[0]) if found else None


WRITERS = {
    "file": Writer(PLAIN, lambda place: read_file(place / "file")),
    "folder": Writer(FOLDER, lambda place: read_file(place / "folder" / "deep" / "file")),
    "bundle": Writer(BUNDLE, read_bundle),
    "plan": Writer(PLAN, read_plan, gap=True, waits=True),
    "artefact": Writer(ARTEFACT, read_artefact),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir(mode=0o700)
    return tmp_path / "place"


def launch(writer: Writer, place: Path, mark: str, end: str = LOOP, mask: str = "022") -> subprocess.Popen[str]:
    code = START.format(size=SIZE) + writer.code + end.format(times=TIMES)
    words = [sys.executable, "-c", code, str(place), mark, mask]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def begin(*processes: subprocess.Popen[str]) -> None:
    """Let them start at once."""
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def assert_whole(content: bytes | None) -> None:
    assert content is None or (len(content) == SIZE and len(set(content)) == 1)


@pytest.mark.parametrize("name", WRITERS)
def test_several_at_once_all_succeed_and_a_reader_finds_a_whole_one(name: str, place: Path) -> None:
    writer = WRITERS[name]
    processes = [launch(writer, place, mark) for mark in "abc"[:PROCESSES]]
    begin(*processes)
    seen = False
    while any(process.poll() is None for process in processes):
        content = writer.read(place)
        assert_whole(content)
        assert writer.gap or not seen or content is not None, "there was one, and then there was none"
        seen = seen or content is not None
    assert [process.wait() for process in processes] == [0] * PROCESSES
    content = writer.read(place)
    assert content is not None
    assert_whole(content)
    assert not list(place.rglob("*.part"))


@pytest.mark.parametrize("name", WRITERS)
def test_one_that_is_stuck_and_killed_holds_up_nobody_and_leaves_nothing(name: str, place: Path) -> None:
    writer = WRITERS[name]
    stuck, other = launch(writer, place, "a", STUCK), launch(writer, place, "b")
    begin(stuck)
    assert stuck.stdout is not None and stuck.stdout.readline() == "stuck\n"
    begin(other)
    if not writer.waits:
        assert other.wait(60) == 0
        assert_whole(writer.read(place))
    stuck.kill()
    assert stuck.wait() == -signal.SIGKILL and other.wait(60) == 0
    last = launch(writer, place, "c")
    begin(last)
    assert last.wait(60) == 0
    content = writer.read(place)
    assert content is not None and content[:1] in (b"c", b"x")
    assert_whole(content)
    assert not list(place.rglob("*.part"))


@pytest.mark.parametrize("name", WRITERS)
def test_a_users_mask_is_kept_to(name: str, place: Path) -> None:
    process = launch(WRITERS[name], place, "a", mask="077")
    begin(process)
    assert process.wait(60) == 0
    for path in place.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert WRITERS[name].read(place) is not None and os.access(place, os.W_OK)
