"""Whole tiny runs whose trainings are done by workers, which are this very process: orders and answers travel as JSON.

    python crewed_runs.py FOLDER KIND WORKERS [apart]

writes `FOLDER/look.json`. With 0 workers the run has none. Workers apart are sent what they need of the run's folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

__all__ = ["HerePool"]


class HerePool:
    """Does an order when somebody waits for it, the newest first, so that they come home in another order."""

    def __init__(self, do: Any) -> None:
        self._do = do
        self._orders: list[tuple[int, tuple[Any, ...]]] = []

    def submit(self, number: int, *order: Any) -> None:
        self._orders.append((number, order))

    def wait(self, seconds: float) -> Sequence[tuple[int, Any]]:
        if not self._orders:
            return []
        number, order = self._orders.pop()
        return [(number, self._do(*order))]

    def close(self) -> None:
        self._orders.clear()


def main(folder: Path, kind: str, workers: int, shared: bool) -> None:
    from tiny_runs import look_at, make_configs, make_tiny

    make_tiny()
    from optimizer.run import checks, run
    from optimizer.workers import crew, task
    from optimizer.workers.pool import Share

    crew.open_ray = lambda address: SimpleNamespace(put=lambda content: content)
    task._fetch = lambda content: content
    crew.find_share = lambda ray, at_once, gpus: Share(workers, 1.0, 0.0)
    crew.Pool = lambda ray, share, do: HerePool(do)  # type: ignore[misc,assignment]
    checks.open_ray = lambda address: None
    checks.check_machines = lambda ray, folders: None
    config = make_configs()[kind]
    if workers:
        config = config.changed({"workers_on": "ray", "shared_folder": shared})
    run.start_run(config, folder / "run")
    (folder / "look.json").write_text(json.dumps(look_at(folder / "run")))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), "apart" not in sys.argv)
