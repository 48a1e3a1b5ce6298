"""A Ray cluster on this machine, of a head that does no work and two nodes that do, and what can die of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

__all__ = ["NODES", "TwoNodes", "ray_settings"]

NODES = 2
PATIENCE_S = 300.0
STORE_BYTES = 80 << 20
TITLE = b"ray::do_"  # of a process at `do_order`, or at what a test has in its place


def ray_settings(*code: Path) -> dict[str, str]:
    """Of the environment that a cluster and its drivers are started in; workers import from these folders too.

    What only is slow, because something else runs on this machine, is not taken for dead.
    """
    given = os.environ.get("PYTHONPATH", "")
    return {
        "RAY_gcs_rpc_server_reconnect_timeout_s": "15", "RAY_health_check_timeout_ms": "60000",
        "RAY_DEDUP_LOGS": "0", "RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0",
        "PYTHONPATH": os.pathsep.join([*map(str, code), *([given] if given else [])]),
    }  # fmt: skip


class TwoNodes:
    """The cluster; `started` starts one and ends it."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster()

    @staticmethod
    @contextmanager
    def started() -> Iterator[TwoNodes]:
        """One that is there; what is left of it at the end is ended."""
        nodes = TwoNodes()
        try:
            for cpus in (0, *[1] * NODES):
                nodes.add(cpus)
            yield nodes
        finally:
            nodes.end()

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add(self, cpus: int) -> None:
        """A node, however long it takes to register: Ray gives it half a minute, which may be too short here."""
        from ray._private import services

        look_up = services.get_node

        def wait_for(*arguments: Any) -> Any:
            deadline = time.monotonic() + PATIENCE_S
            while True:
                try:
                    return look_up(*arguments)
                except RuntimeError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.5)

        services.get_node = wait_for
        try:
            self._cluster.add_node(wait=False, num_cpus=cpus, include_dashboard=False, object_store_memory=STORE_BYTES)
        finally:
            services.get_node = look_up

    def kill_process(self, rng: Random) -> None:
        """One that is at an order, once there is one."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            workers = [pid for node in self._workers for pid in find_busy(_find_raylet(node))]
            if workers:
                try:
                    os.kill(rng.choice(workers), signal.SIGKILL)
                except ProcessLookupError:
                    continue  # it has just ended
                return
            time.sleep(0.05)
        raise AssertionError("no process of the cluster is at an order")

    def kill_node(self, rng: Random) -> None:
        """One of the two, with all of its processes; another one comes in its place."""
        self._cluster.remove_node(rng.choice(self._workers), allow_graceful=False)
        self.add(1)

    def kill_head(self) -> None:
        self._cluster.head_node.kill_gcs_server()
        self._cluster.head_node.kill_raylet()

    def end(self) -> None:
        self._cluster.shutdown()

    @property
    def _workers(self) -> list[Any]:
        return sorted(self._cluster.worker_nodes, key=id)


def find_busy(raylet: int) -> list[int]:
    """Processes of a node that are at an order: Ray calls them by what they do."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            title = (folder / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue  # it has ended
        if parent == raylet and title.startswith(TITLE):
            found.append(int(folder.name))
    return found


def _find_raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)
