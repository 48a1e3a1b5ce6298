"""The database of one run: every trial is one transaction, and what is not in it did not happen."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from deploy.files import replace_file
from optimizer.errors import InputError, RunFailed
from optimizer.search.base import Trial
from optimizer.store.artefacts import ArtefactStore
from optimizer.store.entry import DataSummary, Entry
from optimizer.store.lock import take_lock
from optimizer.store.schema import (
    COLUMNS,
    READABLE_VERSIONS,
    SCHEMA_VERSION,
    TABLES,
    list_strange_objects,
    row_from_trial,
    trial_from_row,
)

__all__ = ["DATABASE", "RunStore"]

DATABASE = "run.db"
LEFTOVER = re.compile(rf"\.lock|\.?{re.escape(DATABASE)}\..*part(-journal)?")  # of a start that was killed


class RunStore:
    """A run's folder: `run.db`, `artefacts/` and a lock that one writer holds.

    Attributes:
        folder: the run's folder.
        artefacts: weights and models by content hash.
        config: what the run was started with, as JSON.
        command: the command line that started it.
        status: "running", "finished", "interrupted" or "paused"; "stopped" where it never got to say so.
        data: classes and numbers of its images; None before they were read.
        elapsed_seconds: wall-clock time spent in all processes that worked on it.
        teachers: folder of its teacher pools. pool: its teacher pool in words.
        trained_teacher: architecture (JSON) and weights (SHA-256) of a teacher that came from outside the run.
        probes: latencies of untrained students, measured before the search; None before that.
        rounds: students that were reckoned with when the search began; None before that.
        search_ended: why the search ended; None while it goes on.
        finetuned: numbers of the trials that are trained further after the search; None before they are chosen.
        finetune_epochs: of that training; None leaves it to the recipe.
        handover: JSON of `optimizer.handover.state.HandOverState`; None before it began.
    """

    config: Entry[dict[str, Any]] = Entry({})
    command = Entry("")
    status = Entry("stopped")
    data = Entry(None, DataSummary.from_json)
    elapsed_seconds = Entry(0.0, float)
    teachers: Entry[str | None] = Entry(None)
    pool = Entry("sub-networks")
    rounds: Entry[int | None] = Entry(None)
    probes: Entry[list[dict[str, Any]] | None] = Entry(None)
    trained_teacher: Entry[tuple[dict[str, Any], str] | None] = Entry(None)
    search_ended: Entry[str | None] = Entry(None)
    finetuned: Entry[list[int] | None] = Entry(None)
    finetune_epochs: Entry[int | None] = Entry(None)
    handover: Entry[dict[str, Any] | None] = Entry(None)

    def __init__(self, folder: Path, connection: sqlite3.Connection, lock: BinaryIO | None) -> None:
        self.folder = folder
        self.artefacts = ArtefactStore(folder / "artefacts", writable=lock is not None)
        self._connection, self._lock = connection, lock

    @staticmethod
    def create(folder: Path, config: dict[str, Any]) -> RunStore:
        """A new run in an empty or absent folder.

        Raises:
            InputError: something is there already.
        """
        if (folder / DATABASE).exists():
            raise InputError(
                f"{folder} already holds a run; go on with `optimize resume {folder}` or choose another --out"
            )
        if folder.exists() and any(not LEFTOVER.fullmatch(item.name) for item in folder.iterdir()):
            raise InputError(f"{folder} is not empty and no run; choose another --out")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the run's folder {folder}: {error.strerror}") from error
        lock = take_lock(folder)
        with _explain(folder), replace_file(folder / DATABASE) as aside:
            connection = sqlite3.connect(aside)
            connection.executescript(f"pragma user_version = {SCHEMA_VERSION}; begin; {TABLES} commit;")
            connection.execute("insert into meta values ('config', ?)", (json.dumps(config, sort_keys=True),))
            connection.commit()
            connection.close()
        return RunStore(folder, _connect(folder, writable=True), lock)

    @staticmethod
    def open(folder: Path, *, writable: bool = True) -> RunStore:
        """A run that exists.

        Without ``writable`` nothing in the folder changes, and it may be on a disk that cannot be written.

        Raises:
            InputError: no run there, a damaged one, one of another version, one that holds links or anything but our
                tables in its database, or (to write) one that is being written.
        """
        if not (folder / DATABASE).is_file():
            raise InputError(f"{folder} is not a run: it has no {DATABASE}")
        _refuse_links(folder)
        lock = take_lock(folder) if writable else None
        try:
            return RunStore(folder, _connect(folder, writable=writable), lock)
        except BaseException:
            if lock is not None:
                lock.close()
            raise

    def __enter__(self) -> RunStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()
        if self._lock is not None:
            self._lock.close()

    def history(self) -> list[Trial]:
        """All trials by number, the pending one included."""
        rows = self._connection.execute(f"select {', '.join(COLUMNS)} from trials order by number")
        return [trial_from_row(row) for row in rows]

    def record(self, trial: Trial) -> None:
        """Write a trial, replacing what was there under its number."""
        marks = ", ".join("?" * len(COLUMNS))
        self._write(f"insert or replace into trials ({', '.join(COLUMNS)}) values ({marks})", row_from_trial(trial))

    def read_entry(self, key: str) -> str | None:
        """The text of an `Entry`; None where nothing was written."""
        row = self._connection.execute("select value from meta where key = ?", (key,)).fetchone()
        return row[0] if row else None

    def write_entry(self, key: str, text: str) -> None:
        self._write("insert or replace into meta values (?, ?)", (key, text))

    def log_event(self, text: str) -> None:
        """Remember that something happened, with the time."""
        self._write("insert into events (text) values (?)", (text,))

    def events(self) -> list[tuple[str, str]]:
        """(time in UTC, text), oldest first."""
        return [(row[0], row[1]) for row in self._connection.execute("select time, text from events order by id")]

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        with _explain(self.folder), self._connection:
            self._connection.execute(statement, values)


def _refuse_links(folder: Path) -> None:
    """A run makes no links; one that came with a folder may lead what is written, or cleared, somewhere else."""
    for path in (*folder.iterdir(), *(folder / "bundles").glob("*")):
        if path.is_symlink():
            raise InputError(
                f"{path} is a link, and a run holds none; put what it points at in its place, or remove it"
            )


def _connect(folder: Path, *, writable: bool) -> sqlite3.Connection:
    """The database, opened and checked: nothing that it holds is executed, and it holds nothing but our tables."""
    path = folder / DATABASE
    place = f"{path.absolute().as_uri()}?mode={'rw' if writable else 'ro'}"
    if not writable and not os.access(folder, os.W_OK) and not _has_content(folder / f"{DATABASE}-wal"):
        place += "&immutable=1"  # SQLite wants to write beside it otherwise
    try:
        connection = sqlite3.connect(place, uri=True)
        connection.row_factory = sqlite3.Row
        connection.execute("pragma trusted_schema = off")
        version = connection.execute("pragma user_version").fetchone()[0]
        strange = list_strange_objects(connection, version) if version in READABLE_VERSIONS else []
        healthy = bool(strange) or connection.execute("pragma quick_check").fetchone()[0] == "ok"
        if writable:
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = full")
    except sqlite3.OperationalError as error:
        raise InputError(f"{path} cannot be opened: {_advise(error)}") from error
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path} is damaged or no database ({error})") from error
    if version not in READABLE_VERSIONS:
        readable = " and ".join(map(str, READABLE_VERSIONS))
        raise InputError(f"{path} has schema version {version}; this release reads versions {readable}")
    if strange:
        raise InputError(f"{path} is not a run of ours: its database holds {', '.join(strange)}; do not use it")
    if not healthy:
        raise InputError(f"{path} is damaged: SQLite's own check fails")
    return connection


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


ADVICE = {  # by words of SQLite's
    "full": "free some space, then resume the run",
    "readonly": "the folder, or its disk, can only be read; make it writable, then resume the run",
    "read-only": "the folder, or its disk, can only be read; make it writable, then resume the run",
    "locked": "another program holds it; end that, then resume the run",
    "disk I/O": "the disk fails or is full; see to it, then resume the run",
    "unable to open": "is its folder writable, and is there space? see to it, then resume the run",
}


def _advise(error: sqlite3.OperationalError) -> str:
    """What SQLite says, and what to do about it."""
    return "; ".join([str(error), *(advice for words, advice in ADVICE.items() if words in str(error))][:2])


@contextmanager
def _explain(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise RunFailed(f"cannot write {folder / DATABASE}: {_advise(error)}") from error
