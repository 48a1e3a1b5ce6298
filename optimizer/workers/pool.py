"""Ray's tasks as a pool: an order is done somewhere, and again elsewhere where its process or its machine dies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from optimizer.errors import InputError, RunFailed
from optimizer.workers.order import ParcelLost

__all__ = ["Failure", "Pool", "Share", "check_machines", "find_share", "open_ray"]

Ordered: TypeAlias = tuple[Any, ...]

TRIES = 3
PATIENCE_S = 120.0  # for the first process of a machine to start
INSTALL = "python3 -m pip install 'detopt[ray]'"


class Failure(NamedTuple):
    """An order that nobody could do, and why."""

    reason: str


@dataclass(frozen=True)
class Share:
    """What each order gets of the cluster, and how many there is room for."""

    at_once: int
    cpus: float
    gpus: float

    def __str__(self) -> str:
        of_gpu = f" and {self.gpus:g} of a GPU" if self.gpus else ""
        return f"{self.at_once} at once, each with {self.cpus:.3g} CPU cores{of_gpu}"


def open_ray(address: str) -> Any:
    """The module of Ray, connected: "ray" is the cluster of this machine, started where there is none.

    Raises:
        InputError: Ray is not installed, or there is no cluster under this address.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError(f"--workers-on {address} needs Ray, which is not installed: {INSTALL}") from error
    if ray.is_initialized():
        return ray
    place = None if address == "ray" else address
    try:
        ray.init(place, log_to_driver=False, logging_level="ERROR", include_dashboard=False if place is None else None)
        import ray.util.scheduling_strategies
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = (str(error).strip().splitlines() or ["no answer"])[0]
        raise InputError(f"--workers-on {address}: there is no Ray cluster to connect to ({first})") from error
    return ray


def find_share(ray: Any, at_once: int | None, gpus: float | None) -> Share:
    """How the cluster is shared: one GPU for an order where there are some, else one order for each machine.

    Raises:
        InputError: there is room for none.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    of_gpu = (1.0 if any(node.get("GPU") for node in nodes) else 0.0) if gpus is None else gpus
    room = sum(int(node.get("GPU", 0.0) / of_gpu) for node in nodes) if of_gpu else len(nodes)
    count = room if at_once is None else min(at_once, room) if of_gpu else at_once
    if not nodes or not count:
        raise InputError(
            f"the Ray cluster has {len(nodes)} machines and {sum(node.get('GPU', 0.0) for node in nodes):g} GPUs: no "
            f"room for a training with {of_gpu:g} of a GPU; ask for less (--gpus-per-trial), or add machines"
        )
    each = -(-count // len(nodes))  # on a machine
    cpus = min(node["CPU"] for node in nodes) / each
    return Share(count, float(int(cpus)) if cpus >= 1 else cpus, of_gpu)


def check_machines(ray: Any, folders: Sequence[Path]) -> None:
    """Refuse a cluster of which a machine has another release of this project, or does not see these folders.

    Raises:
        InputError: that is so, or a machine does not answer.
    """
    by_node = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    look, here = ray.remote(look_round), look_round([])
    asked = {
        node["NodeManagerAddress"]: look.options(num_cpus=0, scheduling_strategy=by_node(node["NodeID"], soft=False))
        for node in ray.nodes()
        if node["Alive"]
    }
    found = {name: task.remote([str(folder) for folder in folders]) for name, task in asked.items()}
    for name, task in found.items():
        try:
            release, *missing = ray.get(task, timeout=PATIENCE_S)
        except ray.exceptions.RayError as error:
            last = (str(error).strip().splitlines() or ["no message"])[-1]
            raise InputError(f"machine {name} of the Ray cluster cannot work for this run: {last}") from error
        if [release] != here:
            raise InputError(f"machine {name} of the Ray cluster has detopt {release}, and this one {here[0]}")
        if missing:
            raise InputError(
                f"machine {name} of the Ray cluster has no {missing[0]}: put it on a disk that all machines see under "
                "the same path, or add --no-shared-folder"
            )


def look_round(folders: list[str]) -> list[str]:
    """On a machine: the release of this project, and which of these files and folders it does not see."""
    return [metadata.version("detopt"), *(folder for folder in folders if not Path(folder).exists())]


class Pool:
    """Does orders by Ray tasks. One whose process or machine dies, or that gets no parcels, is tried three times."""

    def __init__(self, ray: Any, share: Share, do: Callable[..., Any]) -> None:
        self._ray = ray
        self._task = ray.remote(do).options(
            num_cpus=share.cpus, num_gpus=share.gpus, max_retries=0, scheduling_strategy="SPREAD"
        )
        self._orders: dict[Any, tuple[int, Ordered, int]] = {}  # number and tries, by what Ray calls the task

    def submit(self, number: int, *order: Any) -> None:
        """Have an order done, which is what `do` takes; `number` is what its answer is known by."""
        self._submit(number, order, 1)

    def _submit(self, number: int, order: Ordered, tries: int) -> None:
        self._orders[self._task.remote(*order)] = (number, order, tries)

    def wait(self, seconds: float) -> Sequence[tuple[int, Any]]:
        """Answers that have come, or `Failure`, by number; waits so long for the first one.

        Raises:
            RunFailed: the cluster is gone.
            RuntimeError: a worker failed in a way that nobody foresaw; the text has its traceback.
        """
        if not self._orders:
            return []
        errors = self._ray.exceptions
        try:
            ended, _ = self._ray.wait(list(self._orders), num_returns=1, timeout=seconds)
        except (errors.RaySystemError, ConnectionError) as error:
            raise RunFailed(f"the Ray cluster is gone: {error}") from error
        found = []
        for task in ended:
            number, order, tries = self._orders.pop(task)
            try:
                found.append((number, self._ray.get(task)))
            except errors.RayError as error:
                reason = self._explain(error)
                if tries < TRIES:
                    self._submit(number, order, tries + 1)
                else:
                    found.append((number, Failure(f"{reason}, the last of {TRIES} times")))
        return found

    def _explain(self, error: Any) -> str:
        """Why an order has to be done again; raises what no other try would mend."""
        first = (str(error).strip().splitlines() or ["no message"])[0]
        if isinstance(error, self._ray.exceptions.OutOfDiskError):
            return "a disk of the cluster is too full for Ray (RAY_local_fs_capacity_threshold, 0.95 unless it is set)"
        if not isinstance(error, self._ray.exceptions.RayTaskError):
            return f"its worker died by {type(error).__name__}: {first}"
        if isinstance(error.cause, ParcelLost):
            return f"what was sent to its worker did not arrive, by {error.cause}"
        raise RuntimeError(str(error)) from error  # raised by what was done there, and not foreseen

    def close(self) -> None:
        """Nothing that was asked for is done any further."""
        for task in self._orders:
            self._ray.cancel(task, force=True)
        self._orders.clear()
