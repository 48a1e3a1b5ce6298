"""A search killed with SIGKILL at random moments ends with the trials of one that was never disturbed."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from optimizer.recipes import smoke
from optimizer.run.run import resume_run, start_run

pytestmark = pytest.mark.timeout(900)  # whole runs, on a machine that may be busy

KILLS = 5
CONFIG = smoke().changed({"search.cost": "macs", "seed": 5, "base_train.checkpoint_every_s": 1.0})
COMMAND = [sys.executable, "-m", "optimizer", "--base", "r18", "--preset", "smoke", "--score", "macs", "--seed", "5"]

FORKS = multiprocessing.get_context("forkserver")  # every process of a run starts with torch loaded
FORKS.set_forkserver_preload(["optimizer.run.run"])


def launch(work: Callable[..., Path], *arguments: object) -> BaseProcess:
    """A process of its own that does a run, or the rest of it."""
    process = FORKS.Process(target=work, args=arguments)
    process.start()
    return process


def read_cpu_s(process: BaseProcess) -> float:
    """Processor time it has used, in seconds: it passes more slowly where others work too; 0 once it has ended."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def recorded_trials(run: Path) -> list[tuple[object, ...]]:
    """What must be equal: everything in the trials table that is not a time."""
    with sqlite3.connect(f"file:{run / 'run.db'}?mode=ro", uri=True) as database:
        return database.execute(
            "select number, status, proposal, arch, ap, ap50, macs, params, cost_ratio, score, weights, model, "
            "epochs_total, curve, error from trials order by number"
        ).fetchall()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A finished run and the processor seconds it took."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    process, cpu_s = launch(start_run, CONFIG, run), 0.0
    while process.is_alive():
        cpu_s = max(cpu_s, read_cpu_s(process))
        time.sleep(0.05)
    assert process.exitcode == 0
    return run, cpu_s


def test_five_kills_change_nothing(undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    reference, cpu_s = undisturbed
    run = tmp_path / "run"
    moments = random.Random(11)
    process = launch(start_run, CONFIG, run)
    for kill in range(KILLS):
        # what a training did since it was last saved is lost, and what is loaded is loaded again: never done by then
        moment = (0.02 + 0.17 * moments.random()) * cpu_s
        while read_cpu_s(process) < moment:
            assert process.is_alive(), f"it was done before kill {kill + 1}"
            time.sleep(0.01)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        process = launch(resume_run, run) if (run / "run.db").exists() else launch(start_run, CONFIG, run)
    process.join()
    assert process.exitcode == 0
    assert recorded_trials(run) == recorded_trials(reference)
    assert (run / "front.json").exists() and (run / "report.html").exists()


def test_ctrl_c_says_how_to_resume(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        [*COMMAND, "--out", str(run)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background starts without it
    )  # fmt: skip
    while not ((run / "log.txt").exists() and "base: train" in (run / "log.txt").read_text()):
        time.sleep(0.1)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 130, output
    assert f"optimize resume {run}" in output and "Traceback" not in output


def test_a_full_disk_is_one_line_and_the_run_can_go_on(tmp_path: Path) -> None:
    run = tmp_path / "run"

    def allow_small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, 20 << 20))

    result = subprocess.run(
        [*COMMAND, "--out", str(run)], capture_output=True, text=True, timeout=400, check=False,
        preexec_fn=allow_small_files_only,
    )  # fmt: skip
    assert result.returncode == 1, result.stdout + result.stderr
    message = result.stderr.strip()
    assert len(message.splitlines()) == 1 and message.startswith("optimize: cannot write") and "resume" in message
    assert [row[:2] for row in recorded_trials(run)] == [(0, "pending")]
    assert not list(run.rglob("*.part"))
