"""The last training of a whole front: its students, and children of the fastest that were only looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_trials import make_done

from optimizer.arch import PruneFPN
from optimizer.arch.macs import Cost
from optimizer.recipes import quick
from optimizer.run.contenders import Contender, fit_last_training, share_epochs
from optimizer.run.finetune import finetune_best, is_all_trained
from optimizer.search.base import DoneTrial, History, PendingTrial, Proposal, ScreenedTrial, Trial, list_done
from optimizer.store.run_store import RunStore

CONFIG = quick().changed({"search.cost": "macs", "search.finetuned": 3})
MACS = 4 * 10**9


class Killed(Exception):
    """Stands for a process that dies."""


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    with RunStore.create(tmp_path / "run", CONFIG.model_dump(mode="json")) as store:
        store.record(make_done())
        student = make_done(1, Proposal(0, (PruneFPN(0.2),), epochs=1), ap=0.42, cost_ratio=2.0, score=1.2)
        store.record(replace(student, work=replace(student.work, seconds_by_part={"train": 10.0})))
        store.search_ended = "in a test"
        yield store


def ask_faster(history: History, steps: int) -> Proposal | None:
    """Two steps of a tenth of the latency, each look another ratio."""
    if steps > 2:
        return None
    aim = round(0.5 - 0.1 * steps, 3)
    looks = sum(trial.proposal.aim == aim for trial in history)
    return Proposal(1, (PruneFPN(round(0.1 * steps + 0.02 * looks, 2)),), epochs=0, aim=aim)


def make_evaluation(store: RunStore, aps: Callable[[Proposal], float], deadly: int = -1) -> Any:
    """Trials by a formula; one of them kills the process."""

    def evaluate(number: int, proposal: Proposal) -> Trial:
        if number == deadly:
            raise Killed
        arch, ap = make_done().arch, aps(proposal)
        if proposal.screens:
            return ScreenedTrial(number, proposal, arch, ap, ap, Cost(10**6, MACS // 2), 1.0)
        return make_done(number, proposal, ap=ap, cost_ratio=3.0)

    splits = SimpleNamespace(train=SimpleNamespace(records=range(10)), fit=SimpleNamespace(records=range(10)))

    class Evaluation:
        trainer = SimpleNamespace(splits=splits)

        def __call__(self, number: int, proposal: Proposal) -> Trial:
            return evaluate(number, proposal)

    return Evaluation()


def finish(
    store: RunStore, left_s: float | None, aps: Callable[[Proposal], float] = lambda p: 0.4, deadly: int = -1
) -> list[Trial]:
    finetune_best(store, CONFIG, make_evaluation(store, aps, deadly), store.record, lambda: left_s, ask_faster)
    return list(store.history()[2:])


def test_children_of_the_fastest_join_a_front_that_is_too_small(store: RunStore) -> None:
    best_of = {0.12: 0.41, 0.22: 0.40}  # the second look of each latency is the better one
    trials = finish(store, 1000.0, lambda p: best_of.get(p.actions[0].ratio, 0.35) if p.actions else 0.5)
    looks, trained = trials[:6], trials[6:]
    assert [(t.status, t.proposal.aim) for t in looks] == [("screened", 0.4)] * 3 + [("screened", 0.3)] * 3
    assert all(isinstance(trial, DoneTrial) and trial.proposal.finetune for trial in trained)
    assert {(t.proposal.parent, t.proposal.actions) for t in trained} == {
        (1, ()), (1, (PruneFPN(0.12),)), (1, (PruneFPN(0.22),))
    }  # fmt: skip
    assert all((trial.proposal.epochs or 0) > 10 for trial in trained)
    assert is_all_trained(store, CONFIG)


def test_without_time_for_all_there_are_fewer(store: RunStore) -> None:
    trained = [trial for trial in finish(store, 40.0) if trial.proposal.finetune]
    assert len(trained) == 2 and all((trial.proposal.epochs or 0) >= 2 for trial in trained)


def test_where_time_is_short_nobody_is_looked_at(store: RunStore) -> None:
    (trained,) = finish(store, 39.0)
    assert trained.proposal.finetune and (trained.proposal.parent, trained.proposal.epochs) == (1, 3)


def test_a_child_that_detects_next_to_nothing_is_left_out(store: RunStore) -> None:
    trials = finish(store, 1000.0, lambda p: 0.1 if p.screens else 0.5)
    assert [trial.proposal.finetune for trial in trials] == [False, False, False, True]


def test_a_latency_at_which_no_child_comes_near_the_slower_ones_is_looked_at_longer(store: RunStore) -> None:
    trials = finish(store, 1000.0, lambda p: {0.4: 0.40, 0.3: 0.38}.get(p.aim or 0, 0.5))
    assert [t.proposal.aim for t in trials if t.proposal.screens] == [0.4] * 3 + [0.3] * 5
    assert sum(trial.proposal.finetune for trial in trials) == 3


def test_where_nothing_is_trained_before_the_end_children_of_the_base_are(tmp_path: Path) -> None:
    def ask(history: History, steps: int) -> Proposal | None:
        looks = sum(trial.proposal.screens for trial in history)
        return Proposal(0, (PruneFPN(0.01 * (looks + 1)),), epochs=0, aim=round(0.65**steps, 3)) if steps < 3 else None

    with RunStore.create(tmp_path / "run", CONFIG.model_dump(mode="json")) as store:
        base = make_done()
        parts = {"train": 60.0, "export": 1.0, "evaluate": 1.0, "measure": 2.0}
        store.record(replace(base, work=replace(base.work, seconds_by_part=parts, epochs_total=6.0)))
        evaluation = make_evaluation(store, lambda p: 0.1 if p.screens else 0.5)  # less than half of the base's
        finetune_best(store, CONFIG, evaluation, store.record, lambda: 100.0, ask)
        looks = [trial for trial in store.history() if trial.proposal.screens]
        assert [trial.proposal.aim for trial in looks] == [0.65] * 3 + [0.423] * 3
        (last,) = store.history()[7:]  # a second child is not trained that keeps next to nothing
        assert isinstance(last, DoneTrial) and (last.proposal.parent, last.proposal.finetune) == (0, True)
        assert last.proposal.epochs == int((100.0 - 5.0) / 6.5), "ten seconds an epoch of the base, half its operations"


SLOW, FAST = Contender(1, (0.5, 0.6), 5.0, 4.0), Contender(2, (0.4, 0.3), 2.0, 4.0)


@pytest.mark.parametrize(("left_s", "chosen"), [(36.0, [2, 1]), (35.9, [2]), (8.0, [2]), (7.9, [])])
def test_what_is_done_besides_the_epochs_takes_its_time_too(left_s: float, chosen: list[int]) -> None:
    assert [of.number for of in fit_last_training([SLOW, FAST], 2, left_s, growth=2.0)] == chosen


def test_epochs_are_shared_by_those_that_wait() -> None:
    assert share_epochs([FAST, SLOW], 8.0 + 2 * 14.0, growth=2.0) == 2
    assert share_epochs([FAST, SLOW], 8.0 + 2.6 * 14.0, growth=2.0) == 3, "the other makes up for what is too much"
    assert share_epochs([SLOW], 4.0 + 2.9 * 10.0, growth=2.0) == 2, "nobody comes after the last"
    assert share_epochs([SLOW], 1.0) == 1 and share_epochs([Contender(1, (0.5, 0.6), 0.0)], 1.0) == 2


def test_time_that_one_training_leaves_is_the_next_ones(store: RunStore) -> None:
    left = iter([1000.0, 1000.0, 100.0, 60.0, 40.0])  # choosing asks twice, then each of the trainings
    evaluation = make_evaluation(store, lambda p: 0.4)
    finetune_best(store, CONFIG, evaluation, store.record, lambda: next(left), ask_faster)
    trained = [trial.proposal for trial in store.history() if trial.proposal.finetune]
    assert [proposal.epochs for proposal in trained] == [4, 4, 4]


def test_the_recipe_decides_where_time_does_not(store: RunStore) -> None:
    trained = [trial for trial in finish(store, None) if trial.proposal.finetune]
    assert len(trained) == 3 and {trial.proposal.epochs for trial in trained} == {None}


@pytest.mark.parametrize(("left_s", "epochs"), [(35.0, 3), (1000.0, None), (12.0, 1), (None, None)])
def test_a_method_that_aims_at_no_front_has_at_most_its_recipes_epochs(
    store: RunStore, left_s: float | None, epochs: int | None
) -> None:
    config = CONFIG.changed({"search.method": "joint", "search.finetuned": 1})
    finetune_best(store, config, make_evaluation(store, lambda p: 0.4), store.record, lambda: left_s)
    last = store.history()[-1].proposal
    assert last.finetune and last.epochs == epochs


def test_a_method_that_aims_at_no_front_trains_as_many_as_have_time_for_an_epoch(store: RunStore) -> None:
    second = make_done(2, Proposal(0, (PruneFPN(0.3),), epochs=1), ap=0.41, cost_ratio=3.0, score=1.1)
    store.record(replace(second, work=replace(second.work, seconds_by_part={"train": 10.0})))
    config = CONFIG.changed({"search.method": "joint", "search.finetuned": 2})
    finetune_best(store, config, make_evaluation(store, lambda p: 0.4), store.record, lambda: 15.0)
    assert len(store.history()) == 4 and store.history()[-1].proposal.finetune
    assert is_all_trained(store, config)


def test_nobody_is_trained_where_no_epoch_fits(store: RunStore) -> None:
    config = CONFIG.changed({"search.method": "joint", "search.finetuned": 1})
    finetune_best(store, config, make_evaluation(store, lambda p: 0.4), store.record, lambda: 5.0)
    assert len(store.history()) == 2 and store.finetuned == []


@pytest.mark.parametrize("deadly", range(2, 11))
def test_a_kill_anywhere_changes_nothing(store: RunStore, tmp_path: Path, deadly: int) -> None:
    with pytest.raises(Killed):
        finish(store, 1000.0, deadly=deadly)
    assert isinstance(store.history()[-1], PendingTrial) and not is_all_trained(store, CONFIG)
    resumed = finish(store, 1000.0)
    with RunStore.create(tmp_path / "other", CONFIG.model_dump(mode="json")) as other:
        for trial in store.history()[:2]:
            other.record(trial)
        other.search_ended = "in a test"
        undisturbed = finish(other, 1000.0)
    assert [trial.proposal for trial in resumed] == [trial.proposal for trial in undisturbed]
    assert len(list_done(resumed)) == 3
