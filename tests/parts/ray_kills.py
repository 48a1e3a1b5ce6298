"""A search on a Ray cluster of two nodes of which processes, nodes or heads are killed, and what must be left of it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

from ray_cluster import TwoNodes
from tiny_runs import read_trials

from deploy import open_bundle
from deploy.errors import DeployError
from optimizer.errors import InputError
from optimizer.search.base import DoneTrial
from optimizer.store import RunStore

__all__ = ["KINDS", "Killing", "Outcome", "find_faults"]

KINDS = ("nothing", "process", "node", "process and node", "head")
LIMIT_S = 1500.0
ENDS_WITHIN_S = 90.0  # a search whose head is gone


@dataclass(frozen=True)
class Outcome:
    """Of a search.

    Attributes:
        recorded: trials on record at each kill, by number, without the pending ones; the rows of the database.
        ended: of each kill of a head, how the search ended by itself: its exit status; None where it did not.
        seconds: for all of it.
    """

    recorded: tuple[dict[int, tuple[object, ...]], ...]
    ended: tuple[int | None, ...]
    seconds: float


@dataclass(frozen=True)
class Killing:
    """A search, and what is killed of its cluster.

    Attributes:
        begin, resume: commands that start the run and go on with it, to be run where RAY_ADDRESS names a cluster.
        run: the folder that the run will have. said: what the commands say is appended to it.
        moments: so many trials are on record before each kill, and up to `spread_s` seconds pass.
    """

    begin: Sequence[str]
    resume: Sequence[str]
    run: Path
    said: Path
    moments: Sequence[int]
    spread_s: float
    rng: Random

    def search(self, kind: str) -> Outcome:
        """The whole search, killing one of `KINDS` at each of the moments; with two, these take turns.

        Raises:
            AssertionError: it does not come to an end.
        """
        started = time.monotonic()
        recorded, ended = self._kill_heads() if kind == "head" else self._kill_parts(kind)
        return Outcome(tuple(recorded), tuple(ended), time.monotonic() - started)

    def _kill_parts(self, kind: str) -> tuple[list[dict[int, tuple[object, ...]]], list[int | None]]:
        recorded = []
        with TwoNodes.started() as nodes:
            search = self._start(nodes, self.begin)
            kills = {"process": nodes.kill_process, "node": nodes.kill_node}
            kinds = cycle([kills[name] for name in kind.split(" and ") if name in kills])
            for moment, kill in zip(self.moments if kind != "nothing" else (), kinds):
                recorded.append(self._wait_for(moment, search))
                kill(self.rng)
            self._finish(search)
        return recorded, []

    def _kill_heads(self) -> tuple[list[dict[int, tuple[object, ...]]], list[int | None]]:
        recorded, ended = [], []
        for number, moment in enumerate(self.moments):
            with TwoNodes.started() as nodes:
                search = self._start(nodes, self.resume if number else self.begin)
                recorded.append(self._wait_for(moment, search))
                nodes.kill_head()
                try:
                    ended.append(search.wait(ENDS_WITHIN_S))
                except subprocess.TimeoutExpired:
                    search.kill()
                    search.wait()
                    ended.append(None)
        with TwoNodes.started() as nodes:
            self._finish(self._start(nodes, self.resume))
        return recorded, ended

    def _start(self, nodes: TwoNodes, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with self.said.open("ab") as said:
            return subprocess.Popen(
                command,
                env={**os.environ, "RAY_ADDRESS": nodes.address},
                stdout=said,
                stderr=said,
                cwd=self.said.parent,
            )

    def _wait_for(self, count: int, search: subprocess.Popen[bytes]) -> dict[int, tuple[object, ...]]:
        """What is on record some time after so many trials are."""
        deadline = time.monotonic() + LIMIT_S
        while len(read_recorded(self.run)) < count:
            assert search.poll() is None, f"the search ended: {self._read_end()}"
            assert time.monotonic() < deadline, f"no {count} trials: {self._read_end()}"
            time.sleep(0.1)
        time.sleep(self.rng.uniform(0, self.spread_s))
        return read_recorded(self.run)

    def _finish(self, search: subprocess.Popen[bytes]) -> None:
        try:
            status = search.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            search.kill()
            raise AssertionError(f"the search does not end: {self._read_end()}") from None
        assert status == 0, f"the search ended with {status}: {self._read_end()}"

    def _read_end(self) -> str:
        return self.said.read_text(errors="replace")[-2000:]


def read_recorded(run: Path) -> dict[int, tuple[object, ...]]:
    """The trials of a run that have ended, by number; none before it has begun."""
    if not (run / "run.db").is_file():
        return {}
    return {int(str(row[0])): row for row in read_trials(run) if row[1] != "pending"}


def find_faults(run: Path, recorded: Sequence[Mapping[int, tuple[object, ...]]], students: int) -> list[str]:
    """What is wrong with a finished run: trials that were lost or came to nothing, files, front or bundles."""
    faults, rows = [], read_recorded(run)
    for known in recorded:
        faults += [f"trial {number} was lost or is another" for number in known if rows.get(number) != known[number]]
    if sorted(rows) != list(range(len(rows))):
        faults.append(f"numbers of trials are {sorted(rows)}")
    with RunStore.open(run, writable=False) as store:
        history = store.history()
        for trial in history:
            if not isinstance(trial, DoneTrial):
                faults.append(f"trial {trial.number} is not valid: {trial!r:.200}")
                continue
            for sha256 in filter(None, (trial.files.weights, trial.files.model, trial.files.state)):
                try:
                    store.artefacts.path(sha256, verify=True)
                except InputError as error:
                    faults.append(f"trial {trial.number}: {error}")
    found = sum(trial.number > 0 and not trial.proposal.finetune for trial in history)
    if found != students:
        faults.append(f"{found} students, and not {students}")
    front: dict[str, Any] = json.loads((run / "front.json").read_text())
    bundles = [item["bundle"] for item in front["students"] if item["bundle"]]
    for bundle in bundles:
        try:
            open_bundle(run / bundle)
        except DeployError as error:
            faults.append(f"{bundle}: {error}")
    return faults if bundles else [*faults, "no student of the front has a bundle"]
