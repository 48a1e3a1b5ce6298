"""The loop with several proposals in hand, on a formula: all trials are done, in whatever order they end."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest
from made_trials import make_done

from optimizer.arch.actions import uniform_importance
from optimizer.arch.macs import count
from optimizer.errors import RunFailed
from optimizer.recipes import smoke
from optimizer.search import Search, StrategySettings, build_strategy, search_at_once
from optimizer.search.base import DoneTrial, FailedTrial, PendingTrial, Proposal, ScreenedTrial, Trial, get_done

CLASSES = 3
BASE = make_done(arch=smoke().base_arch())


@dataclass
class Run:
    """A history, and workers that evaluate by formula whatever was started, any of it first."""

    size: int
    rng: Random = field(default_factory=lambda: Random(0))
    trials: dict[int, Trial] = field(default_factory=lambda: {0: BASE})
    in_hand: dict[int, Proposal] = field(default_factory=dict)
    most: int = 0
    fails: bool = False

    @property
    def free(self) -> int:
        return self.size - len(self.in_hand)

    def start(self, number: int, proposal: Proposal) -> None:
        assert self.free and isinstance(self.trials[number], PendingTrial), "recorded before it is begun"
        self.in_hand[number] = proposal
        self.most = max(self.most, len(self.in_hand))

    def collect(self) -> list[Trial]:
        number = self.rng.choice(sorted(self.in_hand))
        return [self._evaluate(number, self.in_hand.pop(number))]

    def _evaluate(self, number: int, proposal: Proposal) -> Trial:
        if self.fails:
            return FailedTrial(number, proposal, "it rained")
        assert proposal.parent is not None
        arch = get_done(self.history(), proposal.parent).arch
        for action in proposal.actions:
            arch = action.apply(arch, uniform_importance(arch)).child
        if proposal.screens:
            return ScreenedTrial(number, proposal, arch, 0.3, 0.4, BASE.counts, 1.0)
        share = count(arch, CLASSES).macs / count(BASE.arch, CLASSES).macs
        ap = 0.4 * share**0.1 * (1 + 0.05 * self.rng.random())
        return make_done(number, proposal, arch=arch, ap=ap, cost_ratio=1 / share, score=ap)

    def history(self) -> list[Trial]:
        return [self.trials[number] for number in sorted(self.trials)]

    def record(self, trial: Trial) -> None:
        self.trials[trial.number] = trial

    def search(self, method: str = "joint", trials: int = 12, keep_going: bool = True) -> str:
        settings = StrategySettings(space=smoke().search.space, trials=trials, screened=3, num_classes=CLASSES)
        strategy = build_strategy(method, settings)
        return search_at_once(Search(strategy, self.history, self.record, 1, trials, lambda: keep_going), self)


@pytest.mark.parametrize("method", ["joint", "random", "pareto"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_all_trials_are_done_with_as_many_in_hand_as_there_are_workers(method: str, size: int) -> None:
    run = Run(size)
    assert run.search(method) == "all 12 trials are done" and not run.in_hand
    done = [trial for trial in run.history() if isinstance(trial, DoneTrial)]
    assert len(done) == 13 and run.most == size and list(run.trials) == list(range(len(run.trials)))
    for trial in run.history()[1:]:
        assert trial.proposal.parent is not None and trial.proposal.parent < trial.number
    proposals = [trial.proposal for trial in run.history() if trial.proposal.actions]
    tried = [(proposal.parent, proposal.actions, proposal.screens) for proposal in proposals]
    assert method == "random" or len(set(tried)) == len(tried), "nothing is tried twice, not even at once"


def test_all_looks_are_waited_for_before_one_of_them_is_trained() -> None:
    run, seen = Run(4), []
    start = run.start

    def note(number: int, proposal: Proposal) -> None:
        seen.append(not proposal.screens and any(other.screens for other in run.in_hand.values()))
        start(number, proposal)

    run.start = note  # type: ignore[method-assign]
    run.search("pareto", trials=4)
    assert len(seen) > 8 and not any(seen)


def test_the_same_order_of_ends_gives_the_same_proposals() -> None:
    first, again = Run(3), Run(3)
    first.search()
    again.search()
    assert [trial.proposal for trial in first.history()] == [trial.proposal for trial in again.history()]


def test_what_a_killed_run_had_in_hand_is_done_first() -> None:
    whole = Run(3)
    whole.search(trials=6)
    killed = Run(2)
    for trial in whole.history()[1:4]:
        killed.record(PendingTrial(trial.number, trial.proposal))
    assert killed.search(trials=6) == "all 6 trials are done"
    assert [trial.proposal for trial in killed.history()[:4]] == [trial.proposal for trial in whole.history()[:4]]


def test_time_that_is_up_ends_it_once_nothing_is_in_hand() -> None:
    run = Run(2)
    run.record(PendingTrial(1, Proposal(0)))
    assert run.search(keep_going=False) == "the time is used up after 1 of 12 trials"
    assert isinstance(run.trials[1], DoneTrial)


def test_five_failures_one_after_the_other_end_the_run() -> None:
    with pytest.raises(RunFailed, match="5 trials in a row failed; the last one: it rained"):
        Run(3, fails=True).search()
