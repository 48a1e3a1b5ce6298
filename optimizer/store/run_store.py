"""The database of one run: every trial is one transaction, and what is not in it did not happen."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from deploy.files import make_folder, replace_file
from deploy.foreign import make_printable
from optimizer.errors import InputError, RunFailed
from optimizer.search.base import Trial
from optimizer.store.artefacts import ArtefactStore, explain_disk_errors
from optimizer.store.entry import DataSummary, Entry, KeptTeacher
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
from optimizer.store.values import DAMAGE, read_list, read_mapping, read_number, read_text, read_whole

__all__ = ["DATABASE", "RunStore"]

DATABASE = "run.db"
FOLDERS = ("analysis", "artefacts", "bundles", "data", "scratch", "tensorboard")  # the rest are files
LEFTOVER = re.compile(rf"\.lock|\.?{re.escape(DATABASE)}\..*part(-journal)?")  # of a start that was killed


def _read_numbers(value: Any) -> list[int]:
    return [read_whole(number) for number in read_list(value)]


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
        trained_teacher: a teacher that came from outside the run.
        asked_for: numbers of the trials that are handed over even where others beat them.
        probes: latencies of untrained students, measured before the search; None before that.
        filtered: what the path filter of its super-network did; None where there is none.
        rounds: students that were reckoned with when the search began; None before that.
        search_ended: why the search ended; None while it goes on.
        finetuned: numbers of the trials that are trained further after the search; None before they are chosen.
        finetune_epochs: of that training, in runs of earlier builds; None otherwise.
        handover: JSON of `optimizer.handover.state.HandOverState`; None before it began.
        tracked: JSON of `optimizer.run.tracking.Tracked`; None in a run without trackers.
    """

    config: Entry[dict[str, Any]] = Entry({}, read_mapping)
    command = Entry("", read_text)
    status = Entry("stopped", read_text)
    data: Entry[DataSummary | None] = Entry(None, DataSummary.from_json)
    elapsed_seconds = Entry(0.0, lambda value: float(read_number(value, low=0)))
    teachers: Entry[str | None] = Entry(None, read_text)
    pool = Entry("sub-networks", read_text)
    filtered: Entry[dict[str, Any] | None] = Entry(None, read_mapping)
    rounds: Entry[int | None] = Entry(None, read_whole)
    probes: Entry[list[dict[str, Any]] | None] = Entry(None, lambda value: [read_mapping(v) for v in read_list(value)])
    trained_teacher: Entry[KeptTeacher | None] = Entry(None, KeptTeacher.from_json)
    asked_for: Entry[list[int]] = Entry([], _read_numbers)
    search_ended: Entry[str | None] = Entry(None, read_text)
    finetuned: Entry[list[int] | None] = Entry(None, _read_numbers)
    finetune_epochs: Entry[int | None] = Entry(None, read_whole)
    handover: Entry[dict[str, Any] | None] = Entry(None, read_mapping)
    tracked: Entry[dict[str, Any] | None] = Entry(None, read_mapping)

    def __init__(self, folder: Path, connection: sqlite3.Connection, lock: BinaryIO | None) -> None:
        self.folder = folder
        self.artefacts = ArtefactStore(folder / "artefacts", writable=lock is not None)
        self._connection, self._lock = connection, lock
        self._trials: dict[int, Trial] = {}  # as they were read last, by number
        self._trials_of = -1  # the version of the database, as others change it, that they are of

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
            make_folder(folder)
        except OSError as error:
            raise InputError(f"cannot make the run's folder {folder}: {error.strerror}") from error
        lock = take_lock(folder)
        with _freed_after_an_error(lock):
            with explain_disk_errors(folder), _explain(folder), replace_file(folder / DATABASE) as aside:
                _make_database(aside, config)
            return RunStore(folder, _connect(folder, writable=True), lock)

    @staticmethod
    def open(folder: Path, *, writable: bool = True) -> RunStore:
        """A run that exists.

        Without ``writable`` no file in the folder changes (SQLite may leave empty ones beside the database), and it
        may be on a disk that cannot be written.

        Raises:
            InputError: no run there, a damaged one, one of another version, one that holds links, pipes or anything
                but our tables in its database, or (to write) one that is being written.
        """
        if not (folder / DATABASE).is_file():
            raise InputError(f"{folder} is not a run: it has no {DATABASE}")
        try:
            _refuse_what_is_no_file(folder)
        except OSError as error:
            raise InputError(f"{folder} cannot be read: {error.strerror or error}") from error
        lock = take_lock(folder) if writable else None
        with _freed_after_an_error(lock):
            store = RunStore(folder, _connect(folder, writable=writable), lock)
            try:
                store._check()
            except InputError:
                store.close()
                raise
            return store

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
        """All trials by number, the pending one included; only what has changed since the last time is read."""
        (version,) = self._read("pragma data_version")[0]  # changes with what others write, not with what we do
        if version != self._trials_of:
            self._trials = {trial.number: trial for trial in self._read_trials("order by number")}
            self._trials_of = version
        return [self._trials[number] for number in sorted(self._trials)]

    def _read_trials(self, which: str, values: tuple[Any, ...] = ()) -> list[Trial]:
        trials = []
        for row in self._read(f"select {', '.join(COLUMNS)} from trials {which}", values):
            try:
                trials.append(trial_from_row(row))
            except (InputError, *DAMAGE) as error:
                reason = str(error) if isinstance(error, InputError) else repr(error)
                place = f"{self.folder / DATABASE} is damaged: trial {row['number']} cannot be read"
                raise InputError(f"{place} ({reason:.160})") from error
        return trials

    def record(self, *trials: Trial) -> None:
        """Write trials, all or none, each replacing what was there under its number."""
        marks = ", ".join("?" * len(COLUMNS))
        rows = [row_from_trial(trial) for trial in trials]
        self._write(f"insert or replace into trials ({', '.join(COLUMNS)}) values ({marks})", *rows)
        for trial in trials:
            (self._trials[trial.number],) = self._read_trials("where number = ?", (trial.number,))

    def read_entry(self, key: str) -> str | None:
        """The text of an `Entry`; None where nothing was written."""
        rows = self._read("select value from meta where key = ?", (key,))
        return rows[0][0] if rows else None

    def write_entry(self, key: str, text: str) -> None:
        self._write("insert or replace into meta values (?, ?)", (key, text))

    def log_event(self, text: str) -> None:
        """Remember that something happened, with the time."""
        self._write("insert into events (text) values (?)", (text,))

    def events(self) -> list[tuple[str, str]]:
        """(time in UTC, text), oldest first."""
        return [(str(row[0]), str(row[1])) for row in self._read("select time, text from events order by id")]

    def _check(self) -> None:
        """Read all there is once: what cannot be read is said before anything is done with the rest."""
        self.history()
        for name, entry in vars(RunStore).items():
            if isinstance(entry, Entry):
                getattr(self, name)

    def _read(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.OperationalError as error:  # text that is not UTF-8 is one, too
            raise InputError(f"{self.folder / DATABASE} cannot be read: {_advise(error)}") from error
        except sqlite3.DatabaseError as error:
            raise InputError(f"{self.folder / DATABASE} is damaged ({make_printable(str(error))})") from error

    def _write(self, statement: str, *rows: tuple[Any, ...]) -> None:
        with _explain(self.folder), self._connection:
            self._connection.executemany(statement, rows)


def _make_database(path: Path, config: dict[str, Any]) -> None:
    """The tables of a run, in a file that nobody sees before it is whole: without a journal, which would be left."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma journal_mode = off")
        connection.executescript(f"pragma user_version = {SCHEMA_VERSION}; begin; {TABLES} commit;")
        connection.execute("insert into meta values ('config', ?)", (json.dumps(config, sort_keys=True),))
        connection.commit()


def _refuse_what_is_no_file(folder: Path) -> None:
    """A run is made of files and folders.

    A link that came with one may lead what is written, or cleared, somewhere else; a pipe would be waited for.
    """
    top = list(folder.iterdir())
    below = (path for name in ("analysis", "scratch", "data", "tensorboard") for path in _list_below(folder / name))
    for path in (*top, *(folder / "bundles").glob("*"), *below):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:  # the run goes on meanwhile, and has removed it
            continue
        if stat.S_ISLNK(mode):
            raise InputError(
                f"{path} is a link, and a run holds none; put what it points at in its place, or remove it"
            )
        is_file, wants_folder = stat.S_ISREG(mode), path.name in FOLDERS and path in top
        if not stat.S_ISDIR(mode) and (wants_folder or not is_file):
            raise InputError(f"{path} is not what a run has there: it is no {'folder' if is_file else 'file'}")


def _list_below(folder: Path) -> Iterator[Path]:
    for inside, folders, files in os.walk(folder):
        yield from (Path(inside) / name for name in (*folders, *files))


@contextmanager
def _freed_after_an_error(lock: BinaryIO | None) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if lock is not None:
            lock.close()
        raise


def _connect(folder: Path, *, writable: bool) -> sqlite3.Connection:
    """The database, opened and checked: nothing that it holds is executed, and it holds nothing but our tables."""
    path = folder / DATABASE
    may_write = os.access(folder, os.W_OK)
    half_written = may_write and _has_content(folder / f"{DATABASE}-journal")  # by a kill; SQLite undoes it by writing
    place = f"{path.absolute().as_uri()}?mode={'rw' if writable or half_written else 'ro'}"
    if not writable and not may_write and not _has_content(folder / f"{DATABASE}-wal"):
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
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter of SQLite's own message
        raise InputError(f"{path} is damaged or no database ({make_printable(str(error))})") from error
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
    """What SQLite says, which may hold text of whoever wrote the database, and what to do about it."""
    said = make_printable(str(error))
    return "; ".join([said, *(advice for words, advice in ADVICE.items() if words in said)][:2])


@contextmanager
def _explain(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise RunFailed(f"cannot write {folder / DATABASE}: {_advise(error)}") from error
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:  # a subclass is a mistake of ours
            raise
        raise InputError(f"{folder / DATABASE} is damaged ({make_printable(str(error))})") from error
