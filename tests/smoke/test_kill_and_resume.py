"""A search killed with SIGKILL at random moments ends with the trials of one that was never disturbed."""

from __future__ import annotations

import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(900)  # a whole run, on a machine that may be busy

MAIN = "from optimizer.cli import main; main()"
KILLS = 5
START = ["--base", "r18", "--preset", "smoke", "--score", "macs", "--seed", "5"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", MAIN, *arguments]


def recorded_trials(run: Path) -> list[tuple[object, ...]]:
    """What must be equal: everything in the trials table that is not a time."""
    with sqlite3.connect(f"file:{run / 'run.db'}?mode=ro", uri=True) as database:
        return database.execute(
            "select number, status, proposal, arch, ap, ap50, macs, params, cost_ratio, score, weights, model, "
            "epochs_total, curve, error from trials order by number"
        ).fetchall()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A finished run and its seconds."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    started = time.monotonic()
    subprocess.run(command(*START, "--out", str(run)), check=True, capture_output=True, timeout=840)
    return run, time.monotonic() - started


def test_five_kills_change_nothing(undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    reference, seconds = undisturbed
    run = tmp_path / "run"
    moments = random.Random(11)
    process = subprocess.Popen(command(*START, "--out", str(run)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for kill in range(KILLS):
        # a fifth of it is starting, and what a training did since it was last saved is lost: it is never done by then
        time.sleep((0.08 + 0.2 * moments.random()) * seconds)
        assert process.poll() is None, f"it was done before kill {kill + 1}"
        process.send_signal(signal.SIGKILL)
        process.wait()
        resume = command("resume", str(run)) if (run / "run.db").exists() else command(*START, "--out", str(run))
        process = subprocess.Popen(resume, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert process.wait(timeout=840) == 0
    assert recorded_trials(run) == recorded_trials(reference)
    assert (run / "front.json").exists() and (run / "report.html").exists()


def test_ctrl_c_says_how_to_resume(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        command(*START, "--out", str(run)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background starts without it
    )  # fmt: skip
    while not (run / "run.db").exists():
        time.sleep(0.1)
        assert process.poll() is None
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 130, output
    assert f"optimize resume {run}" in output and "Traceback" not in output


def test_a_full_disk_is_one_line_and_the_run_can_go_on(tmp_path: Path) -> None:
    run = tmp_path / "run"

    def allow_small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, 20 << 20))

    result = subprocess.run(
        command(*START, "--out", str(run)), capture_output=True, text=True, timeout=400, check=False,
        preexec_fn=allow_small_files_only,
    )  # fmt: skip
    assert result.returncode == 1, result.stdout + result.stderr
    message = result.stderr.strip()
    assert len(message.splitlines()) == 1 and message.startswith("optimize: cannot write") and "resume" in message
    assert [row[:2] for row in recorded_trials(run)] == [(0, "pending")]
    assert not list(run.rglob("*.part"))
