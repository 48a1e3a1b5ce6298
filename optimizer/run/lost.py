"""Trials whose files are gone, as after a power cut on a disk that does not keep its word: they are done again."""

from __future__ import annotations

from dataclasses import replace

from optimizer.errors import InputError
from optimizer.progress import RunProgress
from optimizer.search.base import DoneTrial, History, PendingTrial, list_done
from optimizer.store.run_store import RunStore

__all__ = ["redo_lost"]


def redo_lost(store: RunStore, progress: RunProgress) -> None:
    """Make every trial pending again whose weights, model or state are not there, so that the search repeats it.

    Raises:
        InputError: it is too late for that: the search is over, or others were compared with the base that is gone.
    """
    done = list_done(store.history())
    lost = [trial for trial in done if not trial.files.dropped and not _has_its_files(store, trial)]
    orphans = _list_orphans(done, lost)
    if orphans:
        store.record(*(replace(trial, files=replace(trial.files, dropped=True)) for trial in orphans))
        names = ", ".join(str(trial.number) for trial in orphans)
        store.log_event(f"files of trial {names} were missing, and those of what it came from dropped")
        progress.say(f"files of trial {names} are missing, and those of what it came from dropped: it counts no more")
        lost = [trial for trial in lost if trial not in orphans]
    if not lost:
        return
    names = ", ".join(str(trial.number) for trial in lost)
    if store.search_ended is not None or (lost[0].number == 0 and len(done) > 1):
        raise InputError(
            f"the run is incomplete: files of trial {names} are missing from {store.folder / 'artefacts'}, and others "
            "build on it; put them back, or start a new run"
        )
    for trial in lost:
        store.record(PendingTrial(trial.number, trial.proposal))
    store.log_event(f"files of trial {names} were missing")
    progress.say(f"files of trial {names} are missing from {store.folder / 'artefacts'}: it is done again")


def _list_orphans(done: History, lost: list[DoneTrial]) -> list[DoneTrial]:
    """Those that cannot be done again, because what they came from was dropped, or cannot be done again either."""
    gone = {trial.number for trial in list_done(done) if trial.files.dropped}
    orphans = []
    for trial in lost:  # by number, so that parents come first
        if trial.proposal.parent in gone:
            orphans.append(trial)
            gone.add(trial.number)
    return orphans


def _has_its_files(store: RunStore, trial: DoneTrial) -> bool:
    files = (trial.files.weights, trial.files.model, trial.files.state)
    return all(store.artefacts.has(sha256) for sha256 in files if sha256 is not None)
