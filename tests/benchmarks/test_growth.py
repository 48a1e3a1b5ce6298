"""The benchmark of growth runs, with a few trials."""

from __future__ import annotations

from pathlib import Path

import growth
import pytest


@pytest.mark.parametrize(("method", "trained"), [("joint", 5), ("pareto", 1)])
def test_a_run_by_formula_is_stopped_resumed_and_looked_at(tmp_path: Path, method: str, trained: int) -> None:
    row = growth.measure(method, 4, tmp_path / "run")
    assert row["trials"] == 4 and row["trained"] == row["kept"] == trained
    assert row["resume_s"]["wall"] > 0 and row["last_s"]["cpu"] > 0 and row["page_bytes"] > 1e6
    assert row["kept_bytes_of_r50"] >= growth.R50_BYTES
