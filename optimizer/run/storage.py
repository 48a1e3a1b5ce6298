"""What a run keeps on disk of its trials, and what it drops: `optimize prune`, and `--keep` while a run goes on.

The rule. Weights, model and training state of a trial are kept together while something may still ask for them: the
hand-over, a strategy that chooses a parent, the last training, the pages, another run that takes a teacher or a base.
`list_needed` says which trials those are and why. The others are beaten in all of this, and since trials are only ever
added, they stay so; with their proposal and their seed in the database they can be trained again. Files that no trial
names, of a trial that failed or of a process that was killed, go with them. The row of a trial says first that its
files are dropped, then the files go; what a kill leaves between the two goes the next time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from optimizer.config import RunConfig, parse_config
from optimizer.handover.front import find_front
from optimizer.handover.state import HandOverState
from optimizer.handover.variants import name_export
from optimizer.run.finetune import is_all_trained
from optimizer.search.base import DoneTrial, History, PendingTrial, ScreenedTrial, list_done
from optimizer.search.hill_climb import rank_best
from optimizer.search.members import list_members
from optimizer.store.run_store import RunStore

__all__ = ["Holding", "drop_needless", "keep_within", "list_needed", "prune_run", "survey"]

NEWEST = 5  # trials that are kept with their parents: a disk that loses what it said it wrote loses the newest


@dataclass(frozen=True)
class Holding:
    """What the artefact store of a run holds.

    Attributes:
        sizes: bytes of every finished trial's files that are there, by number.
        needed: why the files of a trial are kept, by number.
        needless: the trials whose files go.
        files: bytes of every file that goes, by name.
        total: bytes of all files.
    """

    sizes: Mapping[int, int]
    needed: Mapping[int, str]
    needless: tuple[DoneTrial, ...]
    files: Mapping[str, int]
    total: int

    @property
    def freed(self) -> int:
        return sum(self.files.values())

    def list_lines(self) -> list[str]:
        """What goes and what stays, and why, for a person."""
        gone = [trial.number for trial in self.needless]
        named = sum(self.sizes[number] for number in gone)
        lines = [
            *(f"{name_export(number)}: {_show(self.sizes[number])} go, nothing needs them" for number in gone),
            *([f"files that no trial names: {_show(self.freed - named)} go"] if self.freed > named else []),
            *(
                f"{name_export(number)}: {_show(self.sizes[number])} stay: {why}"
                for number, why in sorted(self.needed.items())
            ),
        ]
        return [*lines, f"{_show(self.freed)} of {_show(self.total)} go, {_show(self.total - self.freed)} stay"]


def prune_run(folder: Path, *, dry: bool = False) -> Holding:
    """Drop what nothing needs of a run that nobody is working on; returns what it held.

    Args:
        dry: whether only to look, which also works while the run goes on.
    """
    with RunStore.open(folder, writable=not dry) as store:
        holding = survey(store, parse_config(store.config))
        if not dry:
            drop_needless(store, holding)
        return holding


def keep_within(store: RunStore, limit: int | None, config: RunConfig, say: Callable[[str], None]) -> None:
    """Drop what nothing needs where the files are more than `limit` bytes; None is no limit."""
    if limit is None or store.artefacts.count_bytes() <= limit:
        return
    holding = survey(store, config)
    if holding.files:
        drop_needless(store, holding)
        say(f"{_show(holding.freed)} of trials that nothing needs were dropped (--keep {_show(limit)})")
    stays = holding.total - holding.freed
    if holding.files and stays > limit:
        say(f"the files that are needed are {_show(stays)}, more than --keep {_show(limit)}; they stay")


def survey(store: RunStore, config: RunConfig) -> Holding:
    """What is there, what is needed of it, and what would go."""
    done, present = list_done(store.history()), store.artefacts.list_sizes()
    needed = list_needed(store, config)
    there = [trial for trial in done if not trial.files.dropped]
    teacher = store.trained_teacher
    stays = {name for trial in there if trial.number in needed for name in _list_files(trial)}
    stays |= {teacher.weights} if teacher is not None else set()
    return Holding(
        sizes={trial.number: sum(present.get(name, 0) for name in _list_files(trial)) for trial in there},
        needed=needed,
        needless=tuple(trial for trial in there if trial.number not in needed),
        files={name: size for name, size in present.items() if name not in stays},
        total=sum(present.values()),
    )


def drop_needless(store: RunStore, holding: Holding) -> None:
    """Write down which trials have no files any more, then remove the files."""
    if holding.needless:
        store.record(*(replace(trial, files=replace(trial.files, dropped=True)) for trial in holding.needless))
        store.log_event("dropped the files of trials " + ", ".join(str(trial.number) for trial in holding.needless))
    for name in holding.files:
        store.artefacts.remove(name)


def list_needed(store: RunStore, config: RunConfig) -> dict[int, str]:
    """The finished trials whose files are kept, each with the first reason there is."""
    history, front = store.history(), find_front(store)
    done = {trial.number: trial for trial in list_done(history) if not trial.files.dropped}
    found: dict[int, str] = {}

    def keep(numbers: Iterable[int | None], why: str) -> None:
        for number in numbers:
            if number in done:
                found.setdefault(number, why)

    keep([0], "all are compared with it")
    keep(front.numbers, "on the front")
    keep(HandOverState.from_json(store.handover).numbers, "handed over")
    keep(store.asked_for, "asked for")
    students = [trial for number, trial in done.items() if number]
    best = max(students, key=lambda trial: trial.score, default=None)
    keep([best.number] if best is not None else [], "the best by score, which the page shows")
    precise = max(done.values(), key=lambda trial: (trial.ap, -trial.number), default=None)
    keep([precise.number] if precise is not None else [], "the most precise, which --teacher RUN takes")
    if is_all_trained(store, config):
        return found
    keep(find_front(store, before_training=True).numbers, "on the front before the last training")
    keep((member.trial.number for member in list_members(history)), "on the search's front, where parents are chosen")
    keep(
        (trial.number for trial in rank_best(history, config.search.top_k)), "among the best, where parents are chosen"
    )
    keep(_list_last_parents(store, history), "to be trained further, or the parent of a trial that is not done")
    newest = list(done.values())[-NEWEST:]
    keep((trial.number for trial in newest), f"one of the last {NEWEST}")
    keep((trial.proposal.parent for trial in newest), f"the parent of one of the last {NEWEST}")
    return found


def _list_last_parents(store: RunStore, history: History) -> list[int | None]:
    """Whom the last training is for, and the parents of what is pending, or was looked at last or for that training."""
    chosen = store.finetuned or []
    screened = [trial for trial in history if isinstance(trial, ScreenedTrial)]
    waiting = [trial for trial in history if isinstance(trial, PendingTrial) or trial.number in chosen]
    return [*chosen, *(trial.proposal.parent for trial in (*waiting, *screened[-1:]))]


def _list_files(trial: DoneTrial) -> list[str]:
    files = trial.files
    return [name for name in (files.weights, files.model, files.state) if name is not None]


def _show(count: int) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"
