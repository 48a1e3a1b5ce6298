"""How a cluster is shared, and what is said where there is none."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from optimizer.errors import InputError
from optimizer.workers.pool import Share, find_share, open_ray


class FakeRay:
    """A cluster that is only described."""

    def __init__(self, *nodes: dict[str, float], dead: int = 0) -> None:
        self._nodes = [{"Alive": place >= dead, "Resources": node} for place, node in enumerate(nodes)]

    def nodes(self) -> list[dict[str, Any]]:
        return self._nodes


@pytest.mark.parametrize(
    ("nodes", "at_once", "gpus", "share"),
    [
        ([{"CPU": 16.0, "GPU": 4.0}, {"CPU": 8.0}], None, None, Share(4, 4.0, 1.0)),
        ([{"CPU": 16.0, "GPU": 2.0}] * 2, None, 0.5, Share(8, 4.0, 0.5)),
        ([{"CPU": 16.0, "GPU": 2.0}] * 2, 3, None, Share(3, 8.0, 1.0)),
        ([{"CPU": 8.0}] * 3, None, None, Share(3, 8.0, 0.0)),
        ([{"CPU": 2.0}], 4, None, Share(4, 0.5, 0.0)),
    ],
)
def test_a_cluster_is_shared_by_gpus_or_by_machines(
    nodes: list[dict[str, float]], at_once: int | None, gpus: float | None, share: Share
) -> None:
    assert find_share(FakeRay(*nodes), at_once, gpus) == share


def test_a_cluster_without_room_is_refused() -> None:
    with pytest.raises(InputError, match=r"has 1 machines and 0 GPUs: no room for a training with 0.5 of a GPU"):
        find_share(FakeRay({"CPU": 4.0}), None, 0.5)
    with pytest.raises(InputError, match="has 0 machines"):
        find_share(FakeRay({"CPU": 4.0}, dead=1), None, None)


def test_without_ray_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"--workers-on ray needs Ray, which is not installed: .*detopt\[ray\]"):
        open_ray("ray")
