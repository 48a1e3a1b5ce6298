"""After the search: the best students of the front are trained further, each with the teacher it has (S0, D)."""

from __future__ import annotations

from collections.abc import Callable

from optimizer.config import RunConfig
from optimizer.handover.front import find_front
from optimizer.search import try_proposal
from optimizer.search.base import PendingTrial, Proposal, Trial, get_done
from optimizer.store.run_store import RunStore
from optimizer.trials.evaluation import Evaluation

__all__ = ["finetune_best", "is_all_trained"]


def finetune_best(store: RunStore, config: RunConfig, evaluation: Evaluation, record: Callable[[Trial], None]) -> None:
    """Train the best students of the front on, each with the teacher it has; recorded as trials after the search's."""
    if not config.search.finetuned:
        return
    known = store.finetuned
    if known is None:
        history = store.history()
        students = [get_done(history, number) for number in find_front(store).numbers if number != 0]
        best = sorted(students, key=lambda trial: -trial.score)[: config.search.finetuned]
        known = [trial.number for trial in best]
        store.finetuned = known
    for parent in known:
        history = store.history()
        trials = [trial for trial in history if trial.proposal.finetune and trial.proposal.parent == parent]
        if trials and not isinstance(trials[0], PendingTrial):
            continue
        teacher = get_done(history, parent).proposal.teacher
        proposal = Proposal(parent, (), f"trial {parent}, fine-tuned", teacher, finetune=True)
        try_proposal(trials[0].number if trials else len(history), proposal, evaluation, record)


def is_all_trained(store: RunStore, config: RunConfig) -> bool:
    """Whether no student is left to train, so that teachers are not needed."""
    if store.search_ended is None:
        return False
    wanted = store.finetuned if config.search.finetuned else []
    tried = {t.proposal.parent for t in store.history() if t.proposal.finetune and not isinstance(t, PendingTrial)}
    return wanted is not None and tried >= set(wanted)
