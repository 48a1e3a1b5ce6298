"""After the search: the best students of the front are trained further, each with the teacher it has (S0, D)."""

from __future__ import annotations

from collections.abc import Callable

from optimizer.config import RunConfig
from optimizer.handover.front import find_front
from optimizer.search import try_proposal
from optimizer.search.base import DoneTrial, PendingTrial, Proposal, Trial, get_done
from optimizer.search.members import select_last
from optimizer.store.run_store import RunStore
from optimizer.trials.evaluation import Evaluation

__all__ = ["finetune_best", "is_all_trained"]

LEAST_EPOCHS = 2  # of a last training; of fewer its rate has no time to fall


def finetune_best(
    store: RunStore,
    config: RunConfig,
    evaluation: Evaluation,
    record: Callable[[Trial], None],
    left_s: float | None = None,
) -> None:
    """Train the best students of the front on, each with the teacher it has; recorded as trials after the search's.

    Args:
        left_s: seconds that the trainings may take in all; None leaves their length to the recipe. Only a method that
            aims at a whole front is given a number, and fills them.
    """
    if not config.search.finetuned:
        return
    if store.finetuned is None:
        chosen = _choose(store, config, config.search.finetuned)
        if config.search.aims and left_s is not None:
            chosen, store.finetune_epochs = _fit(store, config, evaluation, left_s)
        store.finetuned = [trial.number for trial in chosen]
    for parent in store.finetuned or []:
        history = store.history()
        trials = [trial for trial in history if trial.proposal.finetune and trial.proposal.parent == parent]
        if trials and not isinstance(trials[0], PendingTrial):
            continue
        teacher, epochs = get_done(history, parent).proposal.teacher, store.finetune_epochs
        proposal = Proposal(parent, (), f"trial {parent}, fine-tuned", teacher, finetune=True, epochs=epochs)
        try_proposal(trials[0].number if trials else len(history), proposal, evaluation, record)


def is_all_trained(store: RunStore, config: RunConfig) -> bool:
    """Whether no student is left to train, so that teachers are not needed."""
    if store.search_ended is None:
        return False
    wanted = store.finetuned if config.search.finetuned else []
    tried = {t.proposal.parent for t in store.history() if t.proposal.finetune and not isinstance(t, PendingTrial)}
    return wanted is not None and tried >= set(wanted)


def _choose(store: RunStore, config: RunConfig, count: int) -> list[DoneTrial]:
    """Those of highest score; where the search aims at a whole front, those that span it."""
    history = store.history()
    students = [get_done(history, number) for number in find_front(store).numbers if number != 0]
    best = sorted(students, key=lambda trial: -trial.score)
    return select_last(best, count) if config.search.aims else best[:count]


def _fit(store: RunStore, config: RunConfig, evaluation: Evaluation, left_s: float) -> tuple[list[DoneTrial], int]:
    """As many students as can be trained for two epochs in so many seconds, at least one, and how long each is."""
    splits = evaluation.trainer.splits
    growth = len(splits.train.records) / max(len(splits.fit.records), 1)  # the last training is on all images
    for count in range(config.search.finetuned, 0, -1):
        chosen = _choose(store, config, count)
        epoch_s = growth * sum(_find_epoch_s(trial, config) for trial in chosen)
        epochs = int(left_s / epoch_s) if epoch_s else LEAST_EPOCHS
        if epochs >= LEAST_EPOCHS:
            break
    return chosen, max(epochs, 1)


def _find_epoch_s(trial: DoneTrial, config: RunConfig) -> float:
    """Seconds of an epoch of its training."""
    return trial.work.seconds_by_part.get("train", 0.0) / (trial.proposal.epochs or config.trial_train.epochs)
