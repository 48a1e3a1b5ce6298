"""Joint-DetNAS' search: hill climbing over morphs of the best students so far (supplement, A.1.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from optimizer.arch.actions import Action
from optimizer.arch.pool import Subnet
from optimizer.arch.space import Space, legal_actions
from optimizer.search.base import History, Proposal, SpaceExhausted, Trial
from optimizer.search.random_search import draw_action
from optimizer.search.teachers import Teachers

__all__ = ["HillClimb", "draw_rank", "rank_best"]

CANVAS_KINDS = ("resize", "set_region_proposals")


@dataclass(frozen=True)
class HillClimb:
    """One new action on one of the best students, whose trained weights the child inherits, and perhaps a new teacher.

    The paper states a list of the five best pairs, a draw by rank from it, and a student that stays as it is for the
    first iterations. How steeply ranks are weighed, that a kind of action is drawn before the action, how often the
    canvas is drawn anew and how often the teacher moves are reconstructions. An action tried on a parent is not tried
    on it again, failed or not.

    Attributes:
        rank_weights: how much the best student, the second and so on weigh in the draw of a parent; the list of best
            students is as long as this one. The base takes part in the ranking.
        fixed_trials: first trials in which the base's architecture is only trained on (paper: 5), by another teacher
            each time.
        p_canvas: probability that the action is one of the canvas or the region proposals where such is legal.
        teachers: the other half of the pairs; None trains without a teacher.
    """

    space: Space
    rank_weights: tuple[float, ...] = (5, 4, 3, 2, 1)
    fixed_trials: int = 0
    p_canvas: float = 0.25
    teachers: Teachers | None = None

    def __post_init__(self) -> None:
        assert self.rank_weights and min(self.rank_weights) > 0

    def ask(self, history: History, rng: Random) -> Proposal:
        best = rank_best(history, len(self.rank_weights))
        if len(history) <= self.fixed_trials or not self.space.actions:
            parent = best[draw_rank(range(len(best)), self.rank_weights, rng)]
            teacher = self._draw_teacher(parent, rng, moves=len(history) > 1)
            return Proposal(parent.number, (), "the architecture is fixed", teacher=teacher)
        tried = {(trial.proposal.parent, trial.proposal.actions) for trial in history}
        fresh = [
            [action for action in self._list_actions(parent) if (parent.number, (action,)) not in tried]
            for parent in best
        ]
        ranks = [rank for rank, actions in enumerate(fresh) if actions]
        if not ranks:
            raise SpaceExhausted(f"every legal action on the {len(best)} best students has been tried")
        rank = draw_rank(ranks, self.rank_weights, rng)
        action = self._draw_action(fresh[rank], rng)
        teacher = self._draw_teacher(best[rank], rng, moves=False)
        return Proposal(best[rank].number, (action,), f"parent ranks {rank + 1}", teacher=teacher)

    def _draw_teacher(self, parent: Trial, rng: Random, moves: bool) -> Subnet | None:
        """The child's teacher; it `moves` surely where the student stays as it is, but for the very first trial."""
        if self.teachers is None:
            return None
        teacher = self.teachers.of(parent)
        if moves:
            return self.teachers.move(teacher, rng)
        return teacher if parent.proposal.teacher is None else self.teachers.keep_or_move(teacher, rng)

    def _list_actions(self, parent: Trial) -> list[Action]:
        assert parent.arch is not None
        return legal_actions(parent.arch, self.space)

    def _draw_action(self, actions: list[Action], rng: Random) -> Action:
        canvas = [action for action in actions if action.kind in CANVAS_KINDS]
        morphs = [action for action in actions if action.kind not in CANVAS_KINDS]
        return draw_action(canvas if canvas and (not morphs or rng.random() < self.p_canvas) else morphs, rng)


def rank_best(history: History, count: int) -> list[Trial]:
    """The finished trials of highest score, best first; of equals the older one."""
    done = [trial for trial in history if trial.status == "done"]
    return sorted(done, key=lambda trial: (-(trial.score or 0.0), trial.number))[:count]


def draw_rank(ranks: Sequence[int], rank_weights: Sequence[float], rng: Random) -> int:
    """One of these ranks (0 is the best), weighed by rank."""
    return rng.choices(ranks, [rank_weights[rank] for rank in ranks])[0]
