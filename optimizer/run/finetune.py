"""After the search: the best students of the front are trained on, each with the teacher it has (S0, D)."""

from __future__ import annotations

from collections.abc import Callable

from optimizer.config import RunConfig
from optimizer.handover.front import find_front
from optimizer.search.base import Proposal, Trial, TrialFailed
from optimizer.store.run_store import RunStore
from optimizer.trials.evaluation import Evaluation

__all__ = ["finetune_best", "is_all_trained"]


def finetune_best(store: RunStore, config: RunConfig, evaluation: Evaluation, record: Callable[[Trial], None]) -> None:
    """Train the best students of the front on, each with the teacher it has; recorded as trials after the search's."""
    if not config.search.finetuned:
        return
    known: list[int] | None = store.get_meta("finetuned")
    if known is None:
        by_number = {trial.number: trial for trial in store.history()}
        students = [by_number[number] for number in find_front(store).numbers if number != 0]
        best = sorted(students, key=lambda trial: -(trial.score or 0.0))[: config.search.finetuned]
        known = [trial.number for trial in best]
        store.set_meta("finetuned", known)
    for parent in known:
        history = store.history()
        trials = [trial for trial in history if trial.proposal.finetune and trial.proposal.parent == parent]
        if trials and trials[0].status != "pending":
            continue
        source = next(trial for trial in history if trial.number == parent)
        proposal = Proposal(parent, (), f"trial {parent}, fine-tuned", source.proposal.teacher, finetune=True)
        number = trials[0].number if trials else len(history)
        record(Trial(number, proposal))
        try:
            record(evaluation(number, proposal))
        except TrialFailed as error:
            record(Trial(number, proposal, status="failed", error=str(error)))


def is_all_trained(store: RunStore, config: RunConfig) -> bool:
    """Whether no student is left to train, so that teachers are not needed."""
    if store.get_meta("search_ended") is None:
        return False
    wanted = store.get_meta("finetuned") if config.search.finetuned else []
    tried = {t.proposal.parent for t in store.history() if t.proposal.finetune and t.status != "pending"}
    return wanted is not None and tried >= set(wanted)
