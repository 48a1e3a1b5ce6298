"""Which distillers a search chooses, by what came of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

from made_trials import make_done

from optimizer.search.base import DoneTrial, Proposal
from optimizer.search.what_is_taught import choose_set, name_set

SETS = ("nothing", "joint", "defeat")


def make_history(gains: dict[str, list[float]]) -> list[DoneTrial]:
    """The base, and a child of it for each gain in score."""
    found = [make_done(0, score=1.0)]
    for name, values in gains.items():
        for value in values:
            proposal = Proposal(0, taught=name)
            found.append(make_done(len(found), proposal, score=1.0 + value))
    return found


def test_each_set_is_tried_once_before_any_is_tried_again() -> None:
    history: list[DoneTrial] = [make_done(0, score=1.0)]
    drawn = []
    for number in range(1, 4):
        drawn.append(choose_set(SETS, history, Random(number)))
        history.append(make_done(number, Proposal(0, taught=drawn[-1]), score=1.0))
    assert sorted(drawn) == sorted(SETS)


def test_the_set_that_gains_most_is_drawn_most_and_the_others_are_not_forgotten() -> None:
    history = make_history({"nothing": [0.00, 0.01], "joint": [0.02, 0.01], "defeat": [0.00, 0.02]})
    drawn = Counter(choose_set(SETS, history, Random(seed)) for seed in range(400))
    assert drawn["joint"] > max(drawn["nothing"], drawn["defeat"]) and min(drawn.values()) > 10


def test_gains_that_are_certain_leave_no_doubt() -> None:
    history = make_history({"nothing": [0.0] * 30, "joint": [0.1] * 30, "defeat": [-0.1] * 30})
    assert {choose_set(SETS, history, Random(seed)) for seed in range(50)} == {"joint"}


def test_only_trainings_with_a_choice_name_a_set() -> None:
    history, rng = make_history({}), Random(0)
    assert name_set(Proposal(0), SETS, history, rng).taught == SETS[0]
    for proposal in (Proposal(0, epochs=0), Proposal(0, finetune=True, taught="joint")):
        assert name_set(proposal, SETS, history, rng) == proposal
    assert name_set(Proposal(0), (), history, rng).taught is None


def test_the_same_history_gives_the_same_set() -> None:
    history = make_history({name: [0.0, 0.01] for name in SETS})
    again = [replace(trial) for trial in history]
    assert choose_set(SETS, history, Random(5)) == choose_set(SETS, again, Random(5))
