"""Joint-DetNAS' search: hill climbing over morphs of the best students so far (supplement, A.1.4)."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from optimizer.arch.actions import Action
from optimizer.arch.space import Space, legal_actions
from optimizer.search.base import History, Proposal, SpaceExhausted, Trial

__all__ = ["HillClimb"]

CANVAS_KINDS = ("resize", "set_region_proposals")
ATTEMPTS = 100


@dataclass(frozen=True)
class HillClimb:
    """One action on one of the best students, whose trained weights the child inherits.

    The paper states a list of the five best, a draw by rank from it, and a student that stays as it is for the first
    iterations. How steeply ranks are weighed, that a kind of action is drawn before the action, and how often the
    canvas is drawn anew are reconstructions.

    Attributes:
        top_k: length of the list of best students, the base included; ranks weigh top_k, ..., 2, 1.
        fixed_trials: first trials in which the base's architecture is only trained on (paper: 5).
        p_canvas: probability that the action is one of the canvas or the region proposals where such is legal.
    """

    space: Space
    top_k: int = 5
    fixed_trials: int = 0
    p_canvas: float = 0.25

    def ask(self, history: History, rng: Random) -> Proposal:
        done = [trial for trial in history if trial.status == "done"]
        ranked = sorted(done, key=lambda trial: (-(trial.score or 0.0), trial.number))[: self.top_k]
        if len(history) <= self.fixed_trials:
            parent = self._draw_parent(ranked, rng)
            return Proposal(parent.number, (), "student fixed at first")
        tried = {(trial.proposal.parent, trial.proposal.actions) for trial in history}
        for _ in range(ATTEMPTS):
            parent = self._draw_parent(ranked, rng)
            assert parent.arch is not None
            new = [a for a in legal_actions(parent.arch, self.space) if (parent.number, (a,)) not in tried]
            if new:
                rank = [trial.number for trial in ranked].index(parent.number) + 1
                return Proposal(parent.number, (self._draw_action(new, rng),), f"parent ranks {rank}")
        raise SpaceExhausted(f"every legal action on the best {len(ranked)} students has been tried")

    def _draw_parent(self, ranked: list[Trial], rng: Random) -> Trial:
        return rng.choices(ranked, weights=range(self.top_k, self.top_k - len(ranked), -1))[0]

    def _draw_action(self, actions: list[Action], rng: Random) -> Action:
        canvas = [action for action in actions if action.kind in CANVAS_KINDS]
        morphs = [action for action in actions if action.kind not in CANVAS_KINDS]
        chosen = canvas if canvas and (not morphs or rng.random() < self.p_canvas) else morphs
        kind = rng.choice(sorted({action.kind for action in chosen}))
        return rng.choice([action for action in chosen if action.kind == kind])
