"""After the search: the best students of the front are trained further, each with the teacher it has (S0, D)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from optimizer.config import RunConfig
from optimizer.handover.front import find_front
from optimizer.search import try_proposal
from optimizer.search.base import DoneTrial, PendingTrial, Proposal, Trial, get_done
from optimizer.search.members import select_last
from optimizer.store.run_store import RunStore
from optimizer.trials.evaluation import Evaluation

__all__ = ["finetune_best", "fit_last_training", "is_all_trained"]

LEAST_EPOCHS = 2  # of a last training; of fewer its rate has no time to fall


def finetune_best(
    store: RunStore,
    config: RunConfig,
    evaluation: Evaluation,
    record: Callable[[Trial], None],
    find_left_s: Callable[[], float | None] = lambda: None,
) -> None:
    """Train the best students of the front on, each with the teacher it has; recorded as trials after the search's.

    Args:
        find_left_s: asked for the seconds that the trainings may take in all; None leaves their length to the recipe.
            A method that aims at a whole front fills them.
    """
    if not config.search.finetuned:
        return
    if store.finetuned is None:
        students, count = _list_front(store), config.search.finetuned
        chosen = select_last(students, count) if config.search.aims else students[:count]
        left_s = find_left_s() if config.search.aims else None
        if left_s is not None:
            splits, usual = evaluation.trainer.splits, config.trial_train.epochs
            growth = len(splits.train.records) / max(len(splits.fit.records), 1)  # the last training is on all images
            chosen, store.finetune_epochs = fit_last_training(students, count, left_s / growth, usual)
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


def fit_last_training(
    students: Sequence[DoneTrial], count: int, left_s: float, usual_epochs: int
) -> tuple[list[DoneTrial], int]:
    """Whom the last training is for, and how many epochs each gets, so that all take no longer than `left_s`.

    At most `count` students that span the front; fewer, down to one, where each would get less than two epochs, and
    none where one would get less than one.

    Args:
        usual_epochs: what a student was trained for whose proposal does not say.
    """
    for fewer in range(count, 0, -1):
        chosen = select_last(students, fewer)
        epoch_s = sum(t.work.seconds_by_part.get("train", 0.0) / (t.proposal.epochs or usual_epochs) for t in chosen)
        epochs = int(left_s / epoch_s) if epoch_s else LEAST_EPOCHS
        if epochs >= LEAST_EPOCHS:
            break
    return (chosen, epochs) if epochs else ([], 1)


def _list_front(store: RunStore) -> list[DoneTrial]:
    """The students on the front, those of highest score first."""
    history = store.history()
    students = [get_done(history, number) for number in find_front(store).numbers if number != 0]
    return sorted(students, key=lambda trial: -trial.score)
