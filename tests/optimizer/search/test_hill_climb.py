"""What the supplement says of the search (FACTS 1.5): a list of the best, a draw by rank, a fixed student at first."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

from made_trials import make_done

from optimizer.arch.space import Space
from optimizer.search.base import FailedTrial, Proposal, Trial
from optimizer.search.hill_climb import HillClimb

SPACE = Space(sizes=((160, 120), (128, 96)), region_proposals=(100, 50))


def trials(*scores: float | None) -> list[Trial]:
    return [
        FailedTrial(number, Proposal(0), "made to fail") if score is None else make_done(number, score=score)
        for number, score in enumerate(scores)
    ]


def parents(history: list[Trial], draws: int = 900, **settings: object) -> Counter[int | None]:
    quick = replace(SPACE, actions=("resize",))  # which actions there are plays no part in the draw of a parent
    strategy = HillClimb(quick, **settings)  # type: ignore[arg-type]
    return Counter(strategy.ask(history, Random(draw)).parent for draw in range(draws))


def test_parents_are_the_five_best_drawn_by_rank() -> None:
    found = parents(trials(1.0, 0.2, 1.3, None, 0.9, 1.1, 0.1, 1.2))
    assert set(found) == {2, 7, 5, 0, 4}
    for rank, number in enumerate((2, 7, 5, 0, 4)):
        assert abs(found[number] / 900 - (5 - rank) / 15) < 0.06


def test_a_shorter_list_is_greedier() -> None:
    assert set(parents(trials(1.0, 0.2, 1.3), 50, rank_weights=(1,))) == {2}


def test_the_students_architecture_is_fixed_at_first() -> None:
    strategy = HillClimb(SPACE, fixed_trials=3)
    for count in (1, 2, 3):
        assert strategy.ask(trials(*[1.0] * count), Random(0)).actions == ()
    assert len(strategy.ask(trials(1.0, 1.0, 1.0, 1.0), Random(0)).actions) == 1


def test_the_canvas_changes_as_often_as_said() -> None:
    strategy = HillClimb(SPACE, p_canvas=0.25)
    kinds = Counter(strategy.ask(trials(1.0), Random(draw)).actions[0].kind for draw in range(800))
    canvas = (kinds["resize"] + kinds["set_region_proposals"]) / 800
    assert abs(canvas - 0.25) < 0.06
