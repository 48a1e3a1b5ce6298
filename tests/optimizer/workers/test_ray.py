"""A real Ray cluster of two nodes on this machine: what dies costs its own work and nothing that is on record."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from optimizer.errors import InputError
from optimizer.search.base import DoneTrial, Trial
from optimizer.store import RunStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SCRIPT = Path(__file__).resolve().parents[2] / "parts" / "ray_formula.py"
TRIALS, MOMENTS, SECONDS = 16, 3, 1.5
LIMIT_S = 600.0
RAY = {"RAY_gcs_rpc_server_reconnect_timeout_s": "5", "RAY_DEDUP_LOGS": "0", "RAY_AUTH_MODE": "disabled"}


@pytest.fixture
def start_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Any]]:
    """Starts clusters of a head that does no work and two nodes that do."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'detopt[ray]'")
    for name, value in RAY.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    started: list[Any] = []

    def start() -> Any:
        cluster = Cluster()
        started.append(cluster)
        for cpus in (0, 1, 1):
            add_node(cluster, cpus)
        return cluster

    yield start
    for cluster in started:
        cluster.shutdown()


def add_node(cluster: Any, cpus: int) -> None:
    """Ray waits half a minute for a node, which may be too short where something else runs."""
    for tries in range(10):
        try:
            cluster.add_node(num_cpus=cpus, include_dashboard=False, object_store_memory=80 << 20)
        except Exception:  # Ray raises no other
            if tries == 9:
                raise
        else:
            return


def begin(cluster: Any, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(SCRIPT), str(folder), str(TRIALS), "2", str(SECONDS)]
    with (folder / "said.txt").open("ab") as said:
        return subprocess.Popen(command, env={**os.environ, "RAY_ADDRESS": cluster.address}, stdout=said, stderr=said)


def read_trials(folder: Path) -> list[Trial]:
    """What is on record; nothing before the run has begun."""
    try:
        with RunStore.open(folder / "run", writable=False) as store:
            return store.history()
    except InputError:
        return []


def wait_for(folder: Path, count: int, search: subprocess.Popen[bytes]) -> dict[int, DoneTrial]:
    """The finished trials once there are so many."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        done = {trial.number: trial for trial in read_trials(folder) if isinstance(trial, DoneTrial)}
        if len(done) >= count:
            return done
        assert search.poll() is None or len(done) == TRIALS + 1, (folder / "said.txt").read_text()[-2000:]
        time.sleep(0.2)
    raise AssertionError(f"no {count} trials: {(folder / 'said.txt').read_text()[-2000:]}")


def check_whole(folder: Path, before: dict[int, DoneTrial]) -> None:
    """All trials are done, valid and as many as without faults, and what was on record is as it was."""
    trials = read_trials(folder)
    assert [trial.number for trial in trials] == list(range(TRIALS + 1))
    with RunStore.open(folder / "run") as store:
        for trial in trials:
            assert isinstance(trial, DoneTrial) and trial.ap > 0, trial
            content = store.artefacts.path(trial.files.weights, verify=True).read_text()
            assert content == f"weights of trial {trial.number}"
    assert {number: trial for number, trial in enumerate(trials) if number in before} == before


def test_processes_and_nodes_that_are_killed_lose_no_trial(tmp_path: Path, start_cluster: Callable[[], Any]) -> None:
    cluster, rng = start_cluster(), Random(3)
    search, before = begin(cluster, tmp_path), {}
    for moment in range(2 * MOMENTS):
        before |= wait_for(tmp_path, 2 * (moment + 1), search)
        time.sleep(rng.uniform(0, SECONDS))
        if moment < MOMENTS:
            newest = max(tmp_path.glob("*.pid"), key=lambda path: path.stat().st_mtime_ns)
            try:
                os.kill(int(newest.read_text()), signal.SIGKILL)
            except ProcessLookupError:
                continue  # it has ended
        else:
            cluster.remove_node(sorted(cluster.worker_nodes, key=id)[rng.randrange(2)], allow_graceful=False)
            add_node(cluster, 1)
    assert search.wait(LIMIT_S) == 0, (tmp_path / "said.txt").read_text()[-2000:]
    check_whole(tmp_path, before)


def test_a_head_that_is_killed_is_a_resume(tmp_path: Path, start_cluster: Callable[[], Any]) -> None:
    rng, before = Random(4), dict[int, DoneTrial]()
    for moment in range(MOMENTS):
        cluster = start_cluster()
        search = begin(cluster, tmp_path)
        before |= wait_for(tmp_path, 3 * (moment + 1), search)
        time.sleep(rng.uniform(0, SECONDS))
        cluster.head_node.kill_gcs_server()
        cluster.head_node.kill_raylet()
        try:
            search.wait(60)
        except subprocess.TimeoutExpired:
            search.kill()  # as its user would
            search.wait()
        assert search.returncode != 0
        cluster.shutdown()
    search = begin(start_cluster(), tmp_path)
    assert search.wait(LIMIT_S) == 0, (tmp_path / "said.txt").read_text()[-2000:]
    check_whole(tmp_path, before)
