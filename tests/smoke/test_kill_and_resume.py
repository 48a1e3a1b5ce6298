"""A search killed at random moments ends with the trials of one that was never disturbed, and another run builds on it.

Networks are slim; the program, its trainings, its exports and their precision are real.
"""

from __future__ import annotations

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
from slim_runs import start_slim

from optimizer.cli import main
from optimizer.recipes import smoke
from optimizer.run.run import start_run

pytestmark = pytest.mark.timeout(900)  # whole runs, on a machine that may be busy

KILLS = 5
CONFIG = smoke().changed(
    {"search.cost": "macs", "seed": 5, "base_train.epochs": 15}  # so that a slim base detects something
    | {f"{name}.checkpoint_every_s": 0.2 for name in ("base_train", "trial_train", "finetune")}
    | {f"pool.train.{phase}.checkpoint_every_s": 0.2 for phase in range(3)}
)
COMMAND = [sys.executable, "-m", "optimizer", "--base", "r18", "--preset", "smoke", "--score", "macs", "--seed", "5"]
MOST_BYTES = 1 << 19  # of a file, which a checkpoint is larger than


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


def wait_for_training(run: Path, is_alive: Callable[[], bool]) -> None:
    """Until the base is being trained."""
    while not ((run / "log.txt").exists() and "base: train" in (run / "log.txt").read_text()):
        time.sleep(0.05)
        assert is_alive()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A finished run and the processor seconds it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process, cpu_s = start_slim(folder / "said", start_run, CONFIG, folder / "run"), 0.0
    while process.is_alive():
        cpu_s = max(cpu_s, read_cpu_s(process))
        time.sleep(0.05)
    assert process.exitcode == 0, (folder / "said").read_text()
    return folder / "run", cpu_s


def test_five_kills_change_nothing(undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    reference, cpu_s = undisturbed
    run, said = tmp_path / "run", tmp_path / "said"
    moments = random.Random(11)
    process = start_slim(said, start_run, CONFIG, run)
    for kill in range(KILLS):
        # what a training did since it was last saved is lost, and what is loaded is loaded again: never done by then
        moment = (0.02 + 0.17 * moments.random()) * cpu_s
        while read_cpu_s(process) < moment:
            assert process.is_alive(), f"it was done before kill {kill + 1}: {said.read_text()}"
            time.sleep(0.01)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        begun = (run / "run.db").exists()
        process = start_slim(said, main, ["resume", str(run)]) if begun else start_slim(said, start_run, CONFIG, run)
    process.join()
    assert process.exitcode == 0, said.read_text()
    assert recorded_trials(run) == recorded_trials(reference)
    assert (run / "front.json").exists() and (run / "report.html").exists()


def test_ctrl_c_says_how_to_resume(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        [*COMMAND, "--out", str(run)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background starts without it
    )  # fmt: skip
    wait_for_training(run, lambda: process.poll() is None)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 130, output
    assert f"optimize resume {run}" in output and "Traceback" not in output


def test_a_full_disk_is_one_line_and_the_run_can_go_on(tmp_path: Path) -> None:
    run, said = tmp_path / "run", tmp_path / "said"
    process = start_slim(said, start_run, CONFIG, run)
    wait_for_training(run, process.is_alive)
    process.kill()
    process.join()
    process = start_slim(said, main, ["resume", str(run)])
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (MOST_BYTES, MOST_BYTES))
    process.join()
    message = said.read_text().strip()
    assert process.exitcode == 1, message
    assert len(message.splitlines()) == 1 and message.startswith("optimize: cannot write") and "resume" in message
    assert [row[:2] for row in recorded_trials(run)] == [(0, "pending")]
    assert not list(run.rglob("*.part"))


def test_another_run_takes_over_the_base_and_the_pool(
    undisturbed: tuple[Path, float], slim_networks: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = undisturbed
    again = run.parent / "again"
    options = [*COMMAND[3:], "--base-run", str(run), "--out", str(again)]
    with pytest.raises(SystemExit) as ended:
        main([*options, "--method", "etp", "--trials", "1"])
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    assert "no teacher pool" not in said.out and "from the pool" in said.out
    weights = []
    for folder in (run, again):
        with sqlite3.connect(folder / "run.db") as database:
            weights.append(database.execute("select weights, ap from trials where number = 0").fetchone())
    assert weights[0] == weights[1]
    with pytest.raises(SystemExit) as ended:
        main([*options[:-1], str(run.parent / "other"), "--size", "128x96"])
    assert ended.value.code == 2 and "is another one: its architecture or canvas" in capsys.readouterr().err
    assert not (run.parent / "other").exists()
