"""What every writer of shared places keeps to: several at once all succeed, a reader finds a whole one at any moment.

A new writer enrols by an entry of `WRITERS`. Each is tried by processes of its own, since locks are between processes.
Other users are tried as root alone, who can become one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy import open_bundle
from deploy.builders.plans import find_plan
from deploy.engines.plan import BuildSettings, PlanKey, Platform
from deploy.measuring.lease import LOCK
from optimizer.store import RunStore

pytestmark = pytest.mark.timeout(120)

PROCESSES, TIMES = 3, 6
SIZE = 200_000  # bytes: more than arrives in one write
NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
KEY = PlanKey("0" * 64, Platform("10.3", "a GPU", "8.7", "12.6"), BuildSettings(3))
START = """
import os, sys, tempfile, time
from pathlib import Path
place, mark = Path(sys.argv[1]), sys.argv[2]
os.umask(int(sys.argv[3], 8))
tempfile.tempdir = str(place)
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
CALIBRATION = """
from deploy.builders import calibration as module
module._list_features = lambda model, trunk: ["a"]
def calibrate(*arguments):
    pause()
    return {"a": (0.0, 1.0)}
module.calibrate = calibrate
def write():
    (place / "cache" / "key.json").unlink(missing_ok=True)
    module.calibrate_once(place / "cache", "key", None, None, [], 1)
"""
LEASE = """
from deploy.files import write_file
from deploy.measuring.lease import lease_device
def write():
    with lease_device("cpu", 60):
        (place.parent / "holder").write_text(mark)
        pause()
        write_file(place / "file", content)
        assert (place.parent / "holder").read_text() == mark, "somebody else measured meanwhile"
"""
RUN = """
from deploy.errors import InputError
from optimizer.search.base import PendingTrial, Proposal
from optimizer.store import RunStore
from optimizer.store.lock import FolderBusy
def open_run():
    while True:
        try:
            there = (place / "run" / "run.db").exists()
            return RunStore.open(place / "run") if there else RunStore.create(place / "run", {"a": 1})
        except FolderBusy:
            time.sleep(0.01)
        except InputError as error:
            if "already holds a run" not in str(error): raise
def write():
    with open_run() as store:
        store.record(PendingTrial(len(store.history()), Proposal(None, note=mark)))
        pause()
        store.log_event(mark)
"""
POOL = """
from optimizer.store.lock import wait_for_lock
from deploy.files import hash_file, make_folder, replace_file, write_file
def write():
    make_folder(place / "pool")
    with wait_for_lock(place / "pool", lambda line: None):
        (place / "pool" / "pool.json").unlink(missing_ok=True)
        with replace_file(place / "pool" / "phase-0") as aside:
            aside.write_bytes(content)
        pause()
        write_file(place / "pool" / "pool.json", hash_file(place / "pool" / "phase-0").encode())
"""
LOOP = """
def pause(): pass
print("ready", flush=True)
sys.stdin.readline()
if sys.argv[4]: os.setgid(int(sys.argv[4])), os.setuid(int(sys.argv[4]))
for _ in range({times}): write()
"""
STUCK = """
def pause():
    child = os.fork()
    if child:
        print("stuck", child, flush=True)
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
        shared: what every user may write to, whatever the mask of the first one.
        only_owner: whether nobody else can read it.
    """

    code: str
    read: Callable[[Path], bytes | None]
    gap: bool = False
    waits: bool = False
    shared: tuple[str, ...] = ()
    only_owner: bool = False


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


def read_ranges(place: Path) -> bytes | None:
    content = read_file(place / "cache" / "key.json")
    return None if content is None else b"x" * (SIZE if json.loads(content)["ranges"] == {"a": [0.0, 1.0]} else 1)


def read_run(place: Path) -> bytes | None:
    if not (place / "run" / "run.db").exists():
        return None
    with RunStore.open(place / "run", writable=False) as store:
        history = store.history()
        assert [trial.number for trial in history] == list(range(len(history)))
        return b"x" * SIZE


def read_pool(place: Path) -> bytes | None:
    wanted, content = read_file(place / "pool" / "pool.json"), read_file(place / "pool" / "phase-0")
    if wanted is None or wanted != read_file(place / "pool" / "pool.json"):
        return None  # it was trained anew meanwhile
    assert content is not None and hashlib.sha256(content).hexdigest().encode() == wanted
    return content


WRITERS = {
    "file": Writer(PLAIN, lambda place: read_file(place / "file")),
    "folder": Writer(FOLDER, lambda place: read_file(place / "folder" / "deep" / "file")),
    "bundle": Writer(BUNDLE, read_bundle),
    "plan": Writer(PLAN, read_plan, gap=True, waits=True, only_owner=True),
    "artefact": Writer(ARTEFACT, read_artefact),
    "calibration": Writer(CALIBRATION, read_ranges, gap=True),
    "lease": Writer(LEASE, lambda place: read_file(place / "file"), waits=True, shared=(LOCK,)),
    "run": Writer(RUN, read_run, waits=True),
    "pool": Writer(POOL, read_pool, gap=True, waits=True),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir(mode=0o700)
    return tmp_path / "place"


def launch(
    writer: Writer, place: Path, mark: str, end: str = LOOP, mask: str = "022", user: str = ""
) -> subprocess.Popen[str]:
    code = START.format(size=SIZE) + writer.code + end.format(times=TIMES)
    words = [sys.executable, "-c", code, str(place), mark, mask, user]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe if user else None, text=True)


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
    """Though a process that it forked lives on, as a loader's worker may."""
    writer = WRITERS[name]
    stuck, other = launch(writer, place, "a", STUCK), launch(writer, place, "b")
    begin(stuck)
    assert stuck.stdout is not None
    word, child = stuck.stdout.readline().split()
    assert word == "stuck"
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
    os.kill(int(child), signal.SIGKILL)  # it lived all the time


@pytest.mark.parametrize("name", WRITERS)
def test_a_users_mask_is_kept_to(name: str, place: Path) -> None:
    process = launch(WRITERS[name], place, "a", mask="077")
    begin(process)
    assert process.wait(60) == 0
    for path in place.rglob("*"):
        assert path.stat().st_mode & 0o077 == (0o066 if path.name in WRITERS[name].shared else 0), path
    assert WRITERS[name].read(place) is not None and os.access(place, os.W_OK)


@pytest.fixture
def public() -> Iterator[Path]:
    """A place that other users can get to and read."""
    folder = Path(tempfile.mkdtemp(prefix="storage-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "place").mkdir()
    yield folder / "place"
    shutil.rmtree(folder)


def do_as(user: int, what: Callable[[], object]) -> bool:
    """Whether a process of this user does it without an error."""
    child = os.fork()
    if child == 0:
        try:
            os.setgid(user)
            os.setuid(user)
            what()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def write_as(user: int, name: str, place: Path, mark: str, mask: str = "022") -> tuple[int, str]:
    """Exit code and the last line that was complained."""
    process = launch(WRITERS[name], place, mark, mask=mask, user=str(user))
    begin(process)
    _, complained = process.communicate(timeout=60)
    return process.returncode, complained.strip().rpartition("\n")[2]


def take_stock(place: Path) -> dict[Path, int]:
    return {path: path.lstat().st_mtime_ns for path in place.rglob("*") if path.is_file() and path.name != LOCK}


@needs_root
@pytest.mark.parametrize("name", WRITERS)
def test_another_user_reads_it_and_changes_nothing(name: str, public: Path) -> None:
    writer = WRITERS[name]
    (public.parent / "b").write_bytes(b"b" * SIZE)
    assert write_as(0, name, public, "a") == (0, "")
    assert writer.read(public) is not None
    before = take_stock(public)

    def read() -> None:
        content = writer.read(public)
        assert_whole(content)
        assert (content is None) == writer.only_owner

    assert do_as(NOBODY, read)
    code, complained = write_as(NOBODY, name, public, "b")
    assert code != 0 and any(word in complained for word in ("Permission denied", "cannot", "by others")), complained
    assert take_stock(public) == before


@needs_root
@pytest.mark.parametrize("first", [0, NOBODY])
def test_a_lease_is_for_all_users_whoever_comes_first(first: int, public: Path) -> None:
    public.chmod(0o1777)
    public.parent.chmod(0o777)
    assert write_as(first, "lease", public, "a", mask="077") == (0, "")
    (public / "file").unlink()
    (public.parent / "holder").unlink()
    assert write_as(NOBODY - first, "lease", public, "b", mask="077") == (0, "")
