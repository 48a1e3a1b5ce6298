"""What is done again and what is not, with a cluster that only pretends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from optimizer.workers.order import ParcelLost
from optimizer.workers.pool import TRIES, Failure, Pool, Share, look_round
from optimizer.workers.task import _fetch


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        super().__init__(f"ray::do()\n  a traceback\n{cause}")
        self.cause = cause


class FakeRay:
    """Does an order when it is asked what came of it."""

    exceptions = SimpleNamespace(
        RayError=RayError,
        RayTaskError=RayTaskError,
        RaySystemError=type("RaySystemError", (RayError,), {}),
        OutOfDiskError=type("OutOfDiskError", (RayError,), {}),
    )

    def __init__(self) -> None:
        self.tasks: list[Callable[[], Any]] = []

    def remote(self, do: Callable[..., Any]) -> Any:
        def begin(*order: Any) -> int:
            self.tasks.append(lambda: do(*order))
            return len(self.tasks) - 1

        return SimpleNamespace(options=lambda **wanted: SimpleNamespace(remote=begin))

    def wait(self, tasks: list[int], num_returns: int, timeout: float) -> tuple[list[int], list[int]]:
        return tasks[:num_returns], tasks[num_returns:]

    def get(self, task: int) -> Any:
        return self.tasks[task]()


def answer(*errors: Exception) -> tuple[Any, int]:
    """What comes of an order that meets these errors before it succeeds, and how often it was done."""
    left = list(errors)

    def do(order: str) -> str:
        if left:
            raise left.pop(0)
        return order

    ray = FakeRay()
    pool = Pool(ray, Share(1, 1.0, 0.0), do)
    pool.submit(7, "done")
    for _ in range(TRIES):
        for number, came in pool.wait(0.0):
            assert number == 7
            return came, len(ray.tasks)
    raise AssertionError("nothing came")


def test_an_order_whose_worker_dies_or_gets_no_parcels_is_done_again() -> None:
    lost = RayTaskError(ParcelLost("ObjectLostError: gone"))
    assert answer(RayError("dead"), lost) == ("done", 3)
    words = "what was sent to its worker did not arrive, by ObjectLostError: gone, the last of 3 times"
    assert answer(lost, lost, lost) == (Failure(words), 3)
    assert answer(*[RayError("dead")] * 3) == (Failure("its worker died by RayError: dead, the last of 3 times"), 3)


def test_a_full_disk_of_the_cluster_is_told_in_words() -> None:
    full = FakeRay.exceptions.OutOfDiskError("('32d950', b'\\n\\x1c')")
    words = "a disk of the cluster is too full for Ray (RAY_local_fs_capacity_threshold, 0.95 unless it is set)"
    assert answer(full, full, full) == (Failure(f"{words}, the last of 3 times"), 3)


def test_what_nobody_foresaw_is_not_done_again() -> None:
    with pytest.raises(RuntimeError, match="a traceback\nzero"):
        answer(RayTaskError(ZeroDivisionError("zero")))


def test_what_ray_cannot_fetch_is_a_lost_parcel(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(name: str) -> bytes:
        raise RayError(f"{name} is gone\nmore of it")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=get, exceptions=FakeRay.exceptions))
    with pytest.raises(ParcelLost, match=r"^RayError: a1 is gone$"):
        _fetch("a1")


def test_a_machine_sees_label_files_as_it_does_folders(tmp_path: Path) -> None:
    labels = tmp_path / "data.yaml"
    labels.touch()
    assert look_round([str(tmp_path), str(labels), str(tmp_path / "no")])[1:] == [str(tmp_path / "no")]
