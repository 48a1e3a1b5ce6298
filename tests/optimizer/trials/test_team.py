"""Several processes for one run: what the first one says, the others do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from optimizer.data.shapes import write_shapes

WORKER = Path(__file__).with_name("one_of_a_team.py")
ROOT = Path(__file__).resolve().parents[3]


def run_team(folder: Path, processes: int, batch_size: int = 2) -> tuple[list[int], list[str]]:
    """Exit codes and what each process wrote; one that hangs is a failure."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    running = []
    for rank in range(processes):
        environment = {
            **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "RANK": str(rank), "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        }  # fmt: skip
        command = [sys.executable, str(WORKER), str(folder), str(batch_size)]
        running.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    try:
        outputs = [process.communicate(timeout=300)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    return [process.returncode for process in running], outputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_shapes(tmp_path / "data", train=8, val=2, size=(64, 64), seed=0)
    return tmp_path


@pytest.mark.slow
def test_two_processes_train_a_pool_and_a_taught_student_together(folder: Path) -> None:
    codes, outputs = run_team(folder, 2)
    assert codes == [0, 0], "\n".join(outputs)
    found = json.loads((folder / "found.json").read_text())
    assert found["processes"] == 2 and found["steps"] == 4 and found["finite"]
    assert (folder / "pool" / "pool.json").is_file()
    assert not list((folder / "pool").glob("*.ckpt"))
    assert [path.name for path in (folder / "paths").iterdir()] == ["pretrained.safetensors"]


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused_before_any_work(folder: Path) -> None:
    codes, outputs = run_team(folder, 2, batch_size=3)
    assert 0 not in codes
    assert all("a batch of 3 images cannot be shared by 2 processes" in output for output in outputs)
    assert not (folder / "pool").exists()
