"""Joint-DetNAS' search: hill climbing over morphs of the best students so far (supplement, A.1.4)."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from optimizer.arch.actions import Action
from optimizer.arch.space import Space, legal_actions
from optimizer.search.base import History, Proposal, SpaceExhausted, Trial
from optimizer.search.random_search import draw_action

__all__ = ["HillClimb"]

CANVAS_KINDS = ("resize", "set_region_proposals")


@dataclass(frozen=True)
class HillClimb:
    """One new action on one of the best students, whose trained weights the child inherits.

    The paper states a list of the five best, a draw by rank from it, and a student that stays as it is for the first
    iterations. How steeply ranks are weighed, that a kind of action is drawn before the action, and how often the
    canvas is drawn anew are reconstructions. An action tried on a parent is not tried on it again, failed or not.

    Attributes:
        rank_weights: how much the best student, the second and so on weigh in the draw of a parent; the list of best
            students is as long as this one. The base takes part in the ranking.
        fixed_trials: first trials in which the base's architecture is only trained on (paper: 5).
        p_canvas: probability that the action is one of the canvas or the region proposals where such is legal.
    """

    space: Space
    rank_weights: tuple[float, ...] = (5, 4, 3, 2, 1)
    fixed_trials: int = 0
    p_canvas: float = 0.25

    def __post_init__(self) -> None:
        assert self.rank_weights and min(self.rank_weights) > 0

    def ask(self, history: History, rng: Random) -> Proposal:
        done = [trial for trial in history if trial.status == "done"]
        best = sorted(done, key=lambda trial: (-(trial.score or 0.0), trial.number))[: len(self.rank_weights)]
        if len(history) <= self.fixed_trials:
            rank = self._draw_rank(range(len(best)), rng)
            return Proposal(best[rank].number, (), "the architecture is fixed at first")
        tried = {(trial.proposal.parent, trial.proposal.actions) for trial in history}
        fresh = [
            [action for action in self._list_actions(parent) if (parent.number, (action,)) not in tried]
            for parent in best
        ]
        ranks = [rank for rank, actions in enumerate(fresh) if actions]
        if not ranks:
            raise SpaceExhausted(f"every legal action on the {len(best)} best students has been tried")
        rank = self._draw_rank(ranks, rng)
        return Proposal(best[rank].number, (self._draw_action(fresh[rank], rng),), f"parent ranks {rank + 1}")

    def _list_actions(self, parent: Trial) -> list[Action]:
        assert parent.arch is not None
        return legal_actions(parent.arch, self.space)

    def _draw_rank(self, ranks: range | list[int], rng: Random) -> int:
        return rng.choices(ranks, [self.rank_weights[rank] for rank in ranks])[0]

    def _draw_action(self, actions: list[Action], rng: Random) -> Action:
        canvas = [action for action in actions if action.kind in CANVAS_KINDS]
        morphs = [action for action in actions if action.kind not in CANVAS_KINDS]
        return draw_action(canvas if canvas and (not morphs or rng.random() < self.p_canvas) else morphs, rng)
