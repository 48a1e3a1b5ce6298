"""After the search: the best students of the front are trained further, each with the teacher it has (S0, D).

A method that aims at a whole front does more in that last training. Its students span the front; where the search found
fewer than are to be trained, children of the fastest join them, which are looked at first and trained here alone. Where
a budget has time for no more students than that, all of them are children of the base, and are trained once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from optimizer.config import RunConfig
from optimizer.data.splits import Splits
from optimizer.handover.front import find_front
from optimizer.run.contenders import LEAST_EPOCHS, Contender, fit_last_training, share_epochs
from optimizer.search import try_proposal
from optimizer.search.base import DoneTrial, History, PendingTrial, Proposal, ScreenedTrial, Trial, get_done
from optimizer.search.members import select_points
from optimizer.store.run_store import RunStore
from optimizer.trials.evaluation import Evaluation

__all__ = ["finetune_best", "is_all_trained", "trains_at_end_only"]

LOOKS, MOST_LOOKS = 3, 5  # at children of one latency; the most where none of them comes near the slower ones
NEAR = 0.97  # of the AP of the best that is slower
KEPT = 0.5  # of its parent's AP, that a child has at least before it is trained

AskFaster = Callable[[History, int], Proposal | None]


def trains_at_end_only(config: RunConfig, rounds: int) -> bool:
    """Whether a budget with time for so many students is for the last training alone, for those that looks choose.

    So it is where the search would train no more students than the last training does: to train each of them twice
    takes twice what a training needs besides (benchmarks/front_quality.py). A search that is to try one student anyway
    tries it.
    """
    search = config.search
    has_last = search.aims and search.screened > 0 and search.finetuned > 0
    return config.budget_s is not None and has_last and search.trials > 1 and rounds <= search.finetuned


def finetune_best(
    store: RunStore,
    config: RunConfig,
    evaluation: Evaluation,
    record: Callable[[Trial], None],
    find_left_s: Callable[[], float | None] = lambda: None,
    ask_faster: AskFaster = lambda history, steps: None,
) -> None:
    """Train the best students of the front on, each with the teacher it has; recorded as trials after the search's.

    Args:
        find_left_s: asked for the seconds that the trainings may take in all; None leaves their length to the recipe.
            A method that aims at a whole front fills them; another has its recipe's epochs at most.
        ask_faster: gives a child of the fastest student to look at, so many steps faster; None where there is none.
    """
    if not config.search.finetuned or config.search.evolves:  # whose students had that training already
        return
    if store.finetuned is None:
        if config.search.aims:
            _choose_members(store, config, evaluation, record, find_left_s, ask_faster)
        else:
            store.finetuned = _choose_best(store, config, evaluation.trainer.splits, find_left_s())
    for number in store.finetuned or []:
        history = store.history()
        tried = _find_last_training(history, number)
        if tried is None:
            epochs = store.finetune_epochs  # of a run that an earlier build began
            if epochs is None:
                epochs = _choose_epochs(store, config, evaluation.trainer.splits, number, find_left_s())
            try_proposal(len(history), _make_proposal(history, number, epochs), evaluation, record)
        elif isinstance(tried, PendingTrial):
            try_proposal(tried.number, tried.proposal, evaluation, record)


def _choose_best(store: RunStore, config: RunConfig, splits: Splits, left_s: float | None) -> list[int]:
    """The first students of the front, as many as are wanted and have time for an epoch each."""
    chosen = [Contender.of_student(trial, config.trial_train.epochs) for trial in _list_front(store)]
    chosen, growth = chosen[: config.search.finetuned], _find_growth(splits)
    while left_s is not None and chosen and sum(of.extra_s + growth * of.epoch_s for of in chosen) > left_s:
        chosen.pop()
    return [of.number for of in chosen]


def _choose_members(
    store: RunStore,
    config: RunConfig,
    evaluation: Evaluation,
    record: Callable[[Trial], None],
    find_left_s: Callable[[], float | None],
    ask_faster: AskFaster,
) -> None:
    """Whom the last training of a whole front is for."""
    count, usual = config.search.finetuned, config.trial_train.epochs
    contenders = [Contender.of_student(trial, usual) for trial in _list_front(store)]
    growth = _find_growth(evaluation.trainer.splits)
    chosen = [contenders[index] for index in select_points([of.point for of in contenders], count)]
    left_s = find_left_s()
    needed_s = 2 * sum(of.extra_s + LEAST_EPOCHS * growth * of.epoch_s for of in chosen)
    has_room = left_s is None or left_s >= needed_s  # else time is better spent on those that are trained already
    if has_room and (chosen or config.search.trials):
        children = _look_further(store, evaluation, record, ask_faster, count - len(chosen))
        history = store.history()
        for child in children:
            assert child.proposal.parent is not None
            parent = get_done(history, child.proposal.parent)
            contenders.append(Contender.of_child(child, parent, usual, children[0]))
        left_s = find_left_s()
    if left_s is None:
        chosen = [contenders[index] for index in select_points([of.point for of in contenders], count)]
    else:
        chosen = fit_last_training(contenders, count, left_s, growth)
    store.finetuned = [of.number for of in chosen]


def _find_growth(splits: Splits) -> float:
    """How much longer an epoch of the last training takes, which is on all images."""
    return len(splits.train.records) / max(len(splits.fit.records), 1)


def _choose_epochs(store: RunStore, config: RunConfig, splits: Splits, number: int, left_s: float | None) -> int | None:
    """Of this student's last training, so that those that wait get as many, and all end in time.

    Asked anew before each of them, since how long the others took shows by then. None leaves it to the recipe, whose
    epochs are the most where the method does not aim at a whole front.
    """
    if left_s is None:
        return None
    history, waiting = store.history(), []
    for other in store.finetuned or []:
        if _find_last_training(history, other) is None:
            trial = next(trial for trial in history if trial.number == other)
            if isinstance(trial, ScreenedTrial) and trial.proposal.parent is not None:
                parent = get_done(history, trial.proposal.parent)
                waiting.append(Contender.of_child(trial, parent, config.trial_train.epochs))
            else:
                waiting.append(Contender.of_student(get_done(history, other), config.trial_train.epochs))
    assert number in [of.number for of in waiting]
    fitting = share_epochs(waiting, left_s, _find_growth(splits))
    if config.search.aims or config.finetune is None or fitting < config.finetune.epochs:
        return fitting
    return None


def _look_further(
    store: RunStore, evaluation: Evaluation, record: Callable[[Trial], None], ask_faster: AskFaster, wanted: int
) -> list[ScreenedTrial]:
    """The best of some children of the fastest student at each of the next latencies; at most as many as wanted."""
    found: list[ScreenedTrial] = []

    def are_enough(looks: Sequence[Trial]) -> bool:
        slower = found[-1].ap if found else 0.0
        best_ap = max((trial.ap for trial in looks if isinstance(trial, ScreenedTrial)), default=0.0)
        return len(looks) >= (LOOKS if best_ap >= NEAR * slower else MOST_LOOKS)

    while len(found) < wanted:
        looks: list[Trial] = []
        proposal = ask_faster(store.history(), len(found) + 1)
        while proposal is not None:
            place = proposal.parent, proposal.aim
            history = store.history()
            looks = [t for t in history if t.proposal.screens and (t.proposal.parent, t.proposal.aim) == place]
            pending = [trial for trial in looks if isinstance(trial, PendingTrial)]
            if are_enough(looks) and not pending:
                break
            number = pending[0].number if pending else len(history)
            try_proposal(number, pending[0].proposal if pending else proposal, evaluation, record)
            proposal = ask_faster(store.history(), len(found) + 1)
        screened = [trial for trial in looks if isinstance(trial, ScreenedTrial)]
        best = max(screened, key=lambda trial: (trial.ap, -trial.number), default=None)
        if best is None or best.proposal.parent is None:
            break
        is_needed = best.proposal.parent == 0 and not found  # else the run would have no student at all
        if best.ap < KEPT * get_done(store.history(), best.proposal.parent).ap and not is_needed:
            break
        found.append(best)
    return found


def _make_proposal(history: History, number: int, epochs: int | None = None) -> Proposal:
    """The last training of a student, or of a child that was only looked at."""
    trial = next((trial for trial in history if trial.number == number), None)
    if isinstance(trial, ScreenedTrial) and trial.proposal.parent is not None:
        parent, actions, note = trial.proposal.parent, trial.proposal.actions, f"trial {number}, trained at the end"
    else:
        parent, actions, note = number, (), f"trial {number}, fine-tuned"
    before = get_done(history, parent).proposal
    return Proposal(parent, actions, note, before.teacher, finetune=True, epochs=epochs, taught=before.taught)


def _find_last_training(history: History, number: int) -> Trial | None:
    """The last training of a student, or of a child that was only looked at, where it has begun."""
    origin = _find_origin(_make_proposal(history, number))
    return next((t for t in history if t.proposal.finetune and _find_origin(t.proposal) == origin), None)


def _find_origin(proposal: Proposal) -> tuple[object, object]:
    return proposal.parent, proposal.actions


def is_all_trained(store: RunStore, config: RunConfig) -> bool:
    """Whether no student is left to train, so that teachers are not needed."""
    if store.search_ended is None:
        return False
    wanted = store.finetuned if config.search.finetuned and not config.search.evolves else []
    if wanted is None:
        return False
    history = store.history()
    tried = {_find_origin(t.proposal) for t in history if t.proposal.finetune and not isinstance(t, PendingTrial)}
    return tried >= {_find_origin(_make_proposal(history, number)) for number in wanted}


def _list_front(store: RunStore) -> list[DoneTrial]:
    """The students on the front, those of highest score first; whatever AP is asked for, they may still reach it."""
    history = store.history()
    students = [get_done(history, number) for number in find_front(store, before_training=True).numbers if number != 0]
    return sorted(students, key=lambda trial: -trial.score)
