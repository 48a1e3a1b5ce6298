"""Screenings are folded into their rounds, whatever became of them."""

from __future__ import annotations

from made_trials import ARCH, make_done

from optimizer.arch import PruneChannels
from optimizer.report.rounds import Round, fold_rounds, list_aims
from optimizer.search.base import FailedTrial, PendingTrial, Proposal, ScreenedTrial, Trial

BASE = make_done()


def look(number: int, aim: float | None, parent: int = 0, ap: float = 0.3) -> ScreenedTrial:
    proposal = Proposal(parent, (PruneChannels(0.1, 8, number),), epochs=0, aim=aim)
    return ScreenedTrial(number, proposal, ARCH, ap, 0.5, BASE.counts, 3.0)


def train(number: int, of: Trial) -> Proposal:
    return Proposal(of.proposal.parent, of.proposal.actions, epochs=1, aim=of.proposal.aim)


def test_a_round_says_what_was_screened_and_who_was_trained() -> None:
    looks = (look(1, 0.75), look(2, 0.75, ap=0.35), look(3, 0.75))
    trained = make_done(4, train(4, looks[1]))
    entries = fold_rounds([BASE, *looks, trained])
    assert entries == [BASE, Round(0, 0.75, looks, chosen=2, trained=4), trained]
    assert isinstance(entries[1], Round) and entries[1].best == looks[1]


def test_rounds_that_follow_each_other_are_told_apart_by_parent_and_aim() -> None:
    first, second, third = look(1, 0.75), look(2, 0.56), look(3, 0.56, parent=4)
    entries = fold_rounds([BASE, first, second, third])
    assert [(e.parent, e.aim) for e in entries if isinstance(e, Round)] == [(0, 0.75), (0, 0.56), (4, 0.56)]


def test_two_rounds_with_one_parent_and_aim_have_a_training_between_them() -> None:
    early, late = look(1, 0.75), look(3, 0.75)
    trained, further = make_done(2, train(2, early)), make_done(4, train(4, late))
    rounds = [entry for entry in fold_rounds([BASE, early, trained, late, further]) if isinstance(entry, Round)]
    assert [(entry.chosen, entry.trained) for entry in rounds] == [(1, 2), (3, 4)]


def test_a_round_of_which_nothing_is_trained_yet_or_nothing_could_be() -> None:
    failed = FailedTrial(1, look(1, 0.75).proposal, "no")
    waiting = PendingTrial(2, look(2, 0.75).proposal)
    entry = fold_rounds([BASE, failed, waiting])[1]
    assert entry == Round(0, 0.75, (failed, waiting)) and isinstance(entry, Round) and entry.best is None
    tried = look(1, 0.75)
    entry = fold_rounds([BASE, tried, FailedTrial(2, train(2, tried), "diverged")])[1]
    assert isinstance(entry, Round) and entry.trained is None


def test_a_run_without_screenings_keeps_its_trials() -> None:
    history = [BASE, make_done(1), FailedTrial(2, Proposal(0), "no")]
    assert fold_rounds(history) == history and list_aims(history) == []


def test_each_aim_is_listed_once() -> None:
    first = look(1, 0.56)
    assert list_aims([BASE, first, make_done(2, train(2, first)), look(3, 0.75)]) == [0.75, 0.56]
