"""A trial whose files are gone is done again, where that is not too late."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from made_trials import make_done
from rich.console import Console

from optimizer.errors import InputError
from optimizer.progress import RunProgress
from optimizer.run.lost import redo_lost
from optimizer.search.base import DoneTrial, PendingTrial, Proposal, TrialFiles
from optimizer.store import RunStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    """Four trials, each with weights, a model and a state of its own."""
    with RunStore.create(tmp_path / "run", {}) as store:
        for number in range(4):
            kept = []
            for name in ("weights", "model", "state"):
                (tmp_path / name).write_text(f"{name} of {number}")
                kept.append(store.artefacts.put_file(tmp_path / name))
            weights, model, state = kept
            store.record(make_done(number, files=TrialFiles(weights, model, state=state)))
        yield store


def lose(store: RunStore, number: int, name: str = "weights") -> DoneTrial:
    trial = store.history()[number]
    assert isinstance(trial, DoneTrial)
    store.artefacts.path(getattr(trial.files, name)).unlink()
    return trial


def redo(store: RunStore) -> str:
    said = io.StringIO()
    redo_lost(store, RunProgress(Console(file=said, width=1000)))
    return said.getvalue()


def test_nothing_is_done_again_of_a_run_that_is_whole(store: RunStore) -> None:
    before = store.history()
    assert redo(store) == "" and store.history() == before and store.events() == []


@pytest.mark.parametrize("name", ["weights", "model", "state"])
def test_a_student_is_pending_again(store: RunStore, name: str) -> None:
    before, lost = store.history(), lose(store, 2, name)
    assert "files of trial 2 are missing" in redo(store)
    assert store.history() == [*before[:2], PendingTrial(2, lost.proposal), before[3]]
    assert [text for _, text in store.events()] == ["files of trial 2 were missing"]


def test_several_are(store: RunStore) -> None:
    lose(store, 1), lose(store, 3)
    assert "files of trial 1, 3 are missing" in redo(store)
    assert [trial.status for trial in store.history()] == ["done", "pending", "done", "pending"]


def test_the_base_is_only_where_nothing_was_compared_with_it(store: RunStore, tmp_path: Path) -> None:
    base = lose(store, 0)
    with pytest.raises(InputError, match=r"incomplete: files of trial 0 are missing from .* start a new run"):
        redo(store)
    with RunStore.create(tmp_path / "other", {}) as other:
        other.record(replace(base, proposal=Proposal(None)))
        redo(other)
        assert other.history() == [PendingTrial(0, Proposal(None))]


def test_after_the_search_it_is_too_late(store: RunStore) -> None:
    before = store.history()
    lose(store, 2)
    store.search_ended = "all trials are done"
    with pytest.raises(InputError, match="incomplete: files of trial 2 are missing"):
        redo(store)
    assert store.history() == before
