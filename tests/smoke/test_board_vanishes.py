"""A search whose every latency comes through sshd: the board goes away and nothing is lost. Networks are slim."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import slim_runs
from loopback import Board, needs_sshd, wait_for

pytestmark = [pytest.mark.ssh, needs_sshd, pytest.mark.timeout(1500)]

PARTS = str(Path(slim_runs.__file__).parent)
MAIN = f"""
import sys
sys.path.append({PARTS!r})
import pytest, slim_runs
slim_runs.slim_down(pytest.MonkeyPatch())
from optimizer.cli import main
main()
"""
START = ["--base", "r18", "--preset", "smoke", "--seed", "5", "--epochs", "20"]  # so that a slim base detects something
FEWER = ["--method", "random", "--teacher", "none", "--trials", "1"]


class Search:
    """The processes of one run, and what its database holds."""

    def __init__(self, run: Path, board: Board) -> None:
        self.run, self.board = run, board

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", MAIN, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def read_trials(self) -> list[dict[str, Any]]:
        """Each recorded trial, whole; none before there is a database."""
        if not (self.run / "run.db").exists():
            return []
        with sqlite3.connect(f"file:{self.run / 'run.db'}?mode=ro", uri=True, timeout=60) as database:
            database.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in database.execute("select * from trials order by number")]
            except sqlite3.OperationalError:  # not created yet
                return []

    def stop_board_after(self, trial: int, process: subprocess.Popen[str]) -> str:
        """The board goes away once this trial is recorded; what the run said when it noticed."""
        wait_for(lambda: process.poll() is not None or trial in self.list_done(), f"trial {trial}", seconds=900)
        assert process.poll() is None, process.communicate()[1]
        self.board.stop()
        _, said = process.communicate(timeout=600)
        assert process.returncode == 1, said
        message = said.strip()
        assert len(message.splitlines()) == 1 and "127.0.0.1" in message and f"optimize resume {self.run}" in message
        return message

    def list_done(self) -> list[int]:
        return [row["number"] for row in self.read_trials() if row["status"] == "done"]

    def resume(self) -> subprocess.Popen[str]:
        return self.start("resume", str(self.run))

    def finish(self, process: subprocess.Popen[str], trials: int) -> None:
        _, said = process.communicate(timeout=900)
        assert process.returncode == 0, said
        rows = self.read_trials()
        assert [row["status"] for row in rows] == ["done"] * (1 + trials)
        for row in rows:
            assert json.loads(row["latency"])["target"] == "loopback" and (self.board.cache / row["model"]).is_file()
        front = json.loads((self.run / "front.json").read_text())
        for student in [front["base"], *front["students"]]:
            assert student["latency_ms"]["loopback"]["median"] > 0 and student["bundle"]


def test_a_board_that_vanishes_pauses_the_search_and_the_hand_over(board: Board, tmp_path: Path) -> None:
    search = Search(tmp_path / "run", board)
    first = search.start(*START, *FEWER, "--target", str(board.file), "--out", str(search.run))
    assert "connecting failed" in search.stop_board_after(0, first)
    base, pending = search.read_trials()
    assert pending["status"] == "pending" and not pending["error"]

    away = search.resume()
    _, said = away.communicate(timeout=120)
    assert away.returncode == 2 and "cannot be measured on: ssh" in said and len(said.strip().splitlines()) == 1
    assert search.read_trials() == [base, pending]

    board.start()
    search.stop_board_after(1, search.start("resume", str(search.run), "--host", board.host))
    trials = search.read_trials()
    assert trials[0] == base and trials[1]["proposal"] == pending["proposal"]
    assert not (search.run / "bundles").exists()

    board.start()
    search.finish(search.resume(), trials=1)
    assert search.read_trials() == trials


def test_one_search_for_two_targets_waits_for_the_one_that_vanished(board: Board, tmp_path: Path) -> None:
    """This processor with two threads decides; with one thread it is a board."""
    search, local = Search(tmp_path / "run", board), tmp_path / "two.toml"
    local.write_text('name = "two"\nthreads = 2\n')
    targets = ["--target", str(board.file), "--target", str(local), "--primary", str(local)]
    first = search.start(*START, *FEWER, "--export-proposals", "none", *targets, "--out", str(search.run))
    search.stop_board_after(0, first)
    board.start()
    _, said = search.resume().communicate(timeout=900)
    base, student = search.read_trials()
    assert base["status"] == student["status"] == "done", said
    for row in (base, student):
        there = json.loads(row["details"])["elsewhere"]["loopback"]
        assert json.loads(row["latency"])["target"] == "two" and there["latency"]["target"] == "loopback"
        assert there["latency"]["model_sha256"] == row["model"] and there["ratio"] > 0
    front = json.loads((search.run / "front.json").read_text())
    for entry in [front["base"], *front["students"]]:
        assert {"two", "loopback"} == set(entry["latency_ms"]) and entry["bundle"]
        assert entry["latency_ms"]["loopback"]["base_over_own"] > 0
    page = (search.run / "report.html").read_text()
    assert 'id="front-0"' in page and "r18 for two, ssh-loopback" in page


@pytest.mark.slow
def test_a_whole_smoke_search_survives_its_board(board: Board, tmp_path: Path) -> None:
    search = Search(tmp_path / "run", board)
    first = search.start(*START, "--target", str(board.file), "--out", str(search.run))
    search.stop_board_after(1, first)
    trials = search.read_trials()
    board.start()
    search.finish(search.resume(), trials=2)
    assert search.read_trials()[:2] == trials[:2]
