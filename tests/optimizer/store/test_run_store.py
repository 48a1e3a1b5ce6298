"""A run's folder: what is recorded is there after any death, and damage is said in one line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from made_trials import make_done

from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError, RunFailed
from optimizer.search.base import Proposal, Work
from optimizer.store import DataSummary, KeptTeacher, RunStore
from optimizer.store.lock import take_lock
from optimizer.store.run_store import _explain
from optimizer.store.schema import SCHEMA_VERSION

FIRST = make_done(1)
WRITER = """
import sys
from pathlib import Path
from optimizer.search.base import FailedTrial, Proposal
from optimizer.store import RunStore
with RunStore.open(Path(sys.argv[1])) as store:
    for number in range(1, 100000):
        store.record(FailedTrial(number, Proposal(0), "made to fail"))
        print(number, flush=True)
"""


def test_entries_events_and_the_clock_are_kept(run: Path) -> None:
    with RunStore.open(run) as store:
        assert (store.command, store.status, store.data, store.search_ended) == ("", "stopped", None, None)
        store.data = DataSummary(("circle", "square"), 16, 8)
        store.search_ended = "all 2 trials are done"
        store.log_event("resumed")
        store.elapsed_seconds += 1.5
        store.elapsed_seconds += 2.0
    with RunStore.open(run) as store:
        assert store.data == DataSummary(("circle", "square"), 16, 8)
        assert store.search_ended == "all 2 trials are done" and store.finetuned is None
        assert [text for _, text in store.events()] == ["resumed"]
        assert store.elapsed_seconds == 3.5


def test_a_teacher_from_outside_is_kept_and_one_of_an_earlier_release_is_read(run: Path) -> None:
    arch = FIRST.arch.to_json()
    with RunStore.open(run) as store:
        store.write_entry("trained_teacher", json.dumps([arch, "a" * 64]))
        earlier = store.trained_teacher
        assert earlier is not None and (earlier.weights, earlier.epochs) == ("a" * 64, 0)
        store.trained_teacher = KeptTeacher(arch, "b" * 64, 12.0)
    with RunStore.open(run) as store:
        kept = store.trained_teacher
    assert kept is not None and ArchSpec.from_json(kept.arch) == FIRST.arch and kept[1:] == ("b" * 64, 12.0)


def test_what_was_recorded_survives_sigkill(run: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(run)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = 0
    while said < 20:
        said = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    said = max([said, *(int(line) for line in process.stdout.read().split("\n")[:-1])])
    process.wait()
    with RunStore.open(run) as store:  # the lock died with its holder
        numbers = [trial.number for trial in store.history()]
    assert numbers[:said] == list(range(1, said + 1)) and len(numbers) in (said, said + 1)


def test_one_process_at_a_time(run: Path) -> None:
    with RunStore.open(run):
        with pytest.raises(InputError, match="another process is working on"):
            RunStore.open(run)
        with RunStore.open(run, writable=False) as reader:
            assert reader.history() == []
    RunStore.open(run).close()


def test_an_old_run_is_never_overwritten(run: Path) -> None:
    with pytest.raises(InputError, match="already holds a run; go on with `optimize resume"):
        RunStore.create(run, {})


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(InputError, match="not empty and no run"):
        RunStore.create(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_start_that_was_killed_can_be_repeated(tmp_path: Path) -> None:
    for name in (".lock", "run.db.part", "run.db.part-journal"):
        (tmp_path / name).write_text("half")
    with RunStore.create(tmp_path, {"seed": 1}) as store:
        assert store.config == {"seed": 1}


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a run"):
        RunStore.open(tmp_path / "absent")


@pytest.mark.parametrize("damage", ["garbage", "truncated", "holes"])
def test_a_damaged_database_is_refused_in_one_line(damage: str, run: Path) -> None:
    with RunStore.open(run) as store:
        for number in range(1, 200):
            store.record(make_done(number, Proposal(0, note="x" * 200)))
    path = run / "run.db"
    content = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(b"garbage" * 1000)
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[:8192] + b"\xff" * 8192 + content[16384:])
    with pytest.raises(InputError, match=r"run\.db is damaged"):
        RunStore.open(run)


def test_a_database_of_another_version_is_refused(run: Path) -> None:
    with sqlite3.connect(run / "run.db") as database:
        database.execute(f"pragma user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(InputError, match=f"schema version {SCHEMA_VERSION + 1}; this release reads version"):
        RunStore.open(run)


def test_a_full_disk_is_one_line_and_loses_nothing(run: Path) -> None:
    with RunStore.open(run) as store:
        store.record(FIRST)
        store._connection.execute("pragma max_page_count = 1")  # SQLite's own way to say that the disk is full
        with pytest.raises(RunFailed, match="full; free some space, then resume the run"):
            for number in range(2, 500):
                store.record(make_done(number, Proposal(0, note="x" * 1000)))
    with RunStore.open(run) as store:
        assert store.history()[0] == FIRST


def test_numbers_that_json_cannot_hold_never_reach_the_database(run: Path) -> None:
    with RunStore.open(run) as store:
        with pytest.raises(ValueError):
            store.record(make_done(1, work=Work(1.0, 1.0, curve=((1, float("nan")),))))
        assert store.history() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot make the run's folder"):
        RunStore.create(tmp_path / "run", {})


STRANGE = (
    "create view front as with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n",
    "create trigger t after insert on events begin delete from trials; end",
    "create index i on meta (abs(key))",
    "create table more (a, b as (zeroblob(1000000000)) stored)",
    "create virtual table v using fts5(a)",
    "drop table events",
    "drop table events; create view events as select 1 as id, 'now' as time, 'x' as text",
    "drop table meta; create table meta (key text primary key, value text not null, b as (length(zeroblob(1))))",
)


@pytest.mark.parametrize("statement", STRANGE)
@pytest.mark.parametrize("writable", [True, False])
def test_a_database_with_anything_but_our_tables_is_refused(run: Path, statement: str, writable: bool) -> None:
    """A view in place of a table never ends, a trigger deletes: neither is looked at."""
    with sqlite3.connect(run / "run.db") as database:
        database.executescript(statement)
    with pytest.raises(InputError, match=r"not a run of ours: its database holds"):
        RunStore.open(run, writable=writable)
    if writable:
        take_lock(run).close()  # it is free again


@pytest.mark.parametrize("byte", [b"\xea", b"\xff", b"\xc3"])
def test_a_database_whose_schema_is_not_text_is_refused(run: Path, byte: bytes) -> None:
    path = run / "run.db"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"value", b"valu" + byte, 1))
    with pytest.raises(InputError, match=r"not a run of ours: its database holds"):
        RunStore.open(run)
    path.write_bytes(content.replace(b"metameta", b"metamet" + byte, 1))  # which SQLite's own message then names
    with pytest.raises(InputError, match=r"run\.db is damaged"):
        RunStore.open(run)


@pytest.mark.parametrize(
    "name",
    [
        "log.txt",
        "report.html",
        "artefacts",
        "bundles/student-001",
        "run.db-wal",
        "scratch/trial-1.safetensors",
        "data/train",
    ],
)
def test_a_link_in_a_run_is_refused(run: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious.part").write_text("mine")
    place = run / name
    place.parent.mkdir(exist_ok=True)
    if place.exists():
        place.rmdir()
    place.symlink_to(elsewhere)
    with pytest.raises(InputError, match="is a link, and a run holds none"):
        RunStore.open(run)
    assert (elsewhere / "precious.part").exists()


@pytest.mark.parametrize("name", ["../../precious", "/etc/passwd", "A" * 64, "a" * 64 + "\n", ""])
def test_an_artefact_is_named_by_a_hash_alone(run: Path, name: str) -> None:
    with RunStore.open(run) as store, pytest.raises(InputError, match="names no artefact"):
        store.artefacts.path(name)


@pytest.mark.parametrize("kind", [sqlite3.OperationalError, sqlite3.DatabaseError])
def test_a_disk_that_fails_while_a_run_is_read_is_one_line(run: Path, kind: type[Exception]) -> None:
    class Failing:
        def execute(self, *words: object) -> None:
            raise kind("disk I/O error")

    with RunStore.open(run) as store:
        connection, store._connection = store._connection, Failing()  # type: ignore[assignment]
        for read in (store.history, store.events, lambda: store.status):
            with pytest.raises(InputError, match=r"run\.db (cannot be read|is damaged).*disk I/O error"):
                read()
        store._connection = connection


def test_an_artefact_that_is_a_link_is_missing(run: Path) -> None:
    (run / "artefacts" / ("a" * 64)).symlink_to(run / "run.db")
    with RunStore.open(run) as store, pytest.raises(InputError, match="is missing"):
        store.artefacts.path("a" * 64)


def test_a_run_on_a_disk_that_cannot_be_written_is_read(run: Path) -> None:
    with RunStore.open(run) as store:
        store.record(FIRST)
    code = (
        "from pathlib import Path; from optimizer.store import RunStore; "
        f"store = RunStore.open(Path({str(run)!r}), writable=False); print(len(store.history()), store.status)"
    )
    mount = f"mount --bind {run} {run} && mount -o remount,bind,ro {run}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("needs mounts of its own: unshare and mount are refused here")
    words = ["unshare", "-rm", "sh", "-c", f'{mount}; exec "$0" "$@"', sys.executable, "-c"]
    read = subprocess.run([*words, code], capture_output=True, text=True, check=False)
    assert read.stdout.split() == ["1", "stopped"], read.stderr
    written = code.replace(", writable=False", "")
    refused = subprocess.run([*words, written], capture_output=True, text=True, check=False).stderr
    assert "cannot write in" in refused and "Read-only file system" in refused and "damaged" not in refused


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("database or disk is full", "free some space"),
        ("attempt to write a readonly database", "can only be read; make it writable"),
        ("disk I/O error", "the disk fails or is full"),
        ("database is locked", "another program holds it"),
        ("something else", "run.db: something else$"),
    ],
)
def test_what_is_wrong_with_the_disk_is_said_as_what_it_is(run: Path, said: str, words: str) -> None:
    with pytest.raises(RunFailed, match=words), _explain(run):
        raise sqlite3.OperationalError(said)


def test_what_a_kill_left_half_written_is_undone_where_it_is_only_read(tmp_path: Path) -> None:
    folder, killed = tmp_path / "run", tmp_path / "killed"
    with RunStore.create(folder, {"base": "r18"}):
        pass
    connection = sqlite3.connect(folder / "run.db", isolation_level=None)
    connection.execute("pragma journal_mode = delete")
    connection.execute("pragma cache_size = 1")  # pages are written, and the journal is flushed, before the end
    connection.execute("begin immediate")
    for number in range(50):
        connection.execute("insert into events (text) values (?)", [f"{number}" * 5000])
    shutil.copytree(folder, killed)
    connection.close()
    assert (killed / "run.db-journal").stat().st_size
    with RunStore.open(killed, writable=False) as store:
        assert store.config == {"base": "r18"}
