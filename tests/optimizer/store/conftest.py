from __future__ import annotations

from pathlib import Path

import pytest

from optimizer.store import RunStore


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run in which nothing was done yet."""
    folder = tmp_path / "run"
    with RunStore.create(folder, {"seed": 1}):
        return folder
