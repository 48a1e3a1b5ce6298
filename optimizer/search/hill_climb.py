"""Joint-DetNAS' search: hill climbing over morphs of the best students so far (supplement, A.1.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from optimizer.arch.edits import Action
from optimizer.arch.space import Space, legal_actions
from optimizer.arch.subnets import Subnet
from optimizer.search.base import DoneTrial, History, Proposal, SpaceExhausted, list_done
from optimizer.search.random_search import draw_action, extend_chain
from optimizer.search.teachers import Teachers

__all__ = ["HillClimb", "draw_rank", "rank_best"]


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
        max_actions: most actions between a child and its parent (paper: 1); 1 to as many are drawn. The first is never
            one that was tried alone or first on that parent.
        p_canvas: probability that the action is one of the canvas or the region proposals where such is legal.
        teachers: the other half of the pairs; None trains without a teacher.
    """

    space: Space
    rank_weights: tuple[float, ...] = (5, 4, 3, 2, 1)
    fixed_trials: int = 0
    p_canvas: float = 0.25
    teachers: Teachers | None = None
    max_actions: int = 1

    def __post_init__(self) -> None:
        assert self.rank_weights and min(self.rank_weights) > 0

    def ask(self, history: History, rng: Random) -> Proposal:
        best = rank_best(history, len(self.rank_weights))
        if len(history) <= self.fixed_trials or not self.space.actions:
            parent = best[draw_rank(range(len(best)), self.rank_weights, rng)]
            teacher = self._draw_teacher(history, parent, rng, student_stays=True)
            return Proposal(parent.number, (), "the architecture is fixed", teacher=teacher)
        tried = {(trial.proposal.parent, trial.proposal.actions[:1]) for trial in history}
        fresh = [
            [action for action in legal_actions(parent.arch, self.space) if (parent.number, (action,)) not in tried]
            for parent in best
        ]
        ranks = [rank for rank, actions in enumerate(fresh) if actions]
        if not ranks:
            raise SpaceExhausted(f"every legal action on the {len(best)} best students has been tried")
        rank = draw_rank(ranks, self.rank_weights, rng)
        action = self._draw_action(fresh[rank], rng)
        teacher = self._draw_teacher(history, best[rank], rng, student_stays=False)
        actions: tuple[Action, ...] = (action,)
        if self.max_actions > 1:
            actions = extend_chain(actions, best[rank].arch, self.space, rng.randint(1, self.max_actions), rng)
        return Proposal(best[rank].number, actions, f"parent ranks {rank + 1}", teacher=teacher)

    def _draw_teacher(self, history: History, parent: DoneTrial, rng: Random, student_stays: bool) -> Subnet | None:
        """The child's teacher: the first one is the largest; where the student stays as it is, the teacher moves."""
        if self.teachers is None:
            return None
        teacher = self.teachers.of(parent)
        if len(history) == 1:
            return teacher
        return self.teachers.move(teacher, rng) if student_stays else self.teachers.keep_or_move(teacher, rng)

    def _draw_action(self, actions: list[Action], rng: Random) -> Action:
        canvas = [action for action in actions if action.of_canvas]
        morphs = [action for action in actions if not action.of_canvas]
        return draw_action(canvas if canvas and (not morphs or rng.random() < self.p_canvas) else morphs, rng)


def rank_best(history: History, count: int) -> list[DoneTrial]:
    """The finished trials of highest score whose files are there, best first; of equals the older one."""
    there = [trial for trial in list_done(history) if not trial.files.dropped]
    return sorted(there, key=lambda trial: (-trial.score, trial.number))[:count]


def draw_rank(ranks: Sequence[int], rank_weights: Sequence[float], rng: Random) -> int:
    """One of these ranks (0 is the best), weighed by rank."""
    return rng.choices(ranks, [rank_weights[rank] for rank in ranks])[0]
