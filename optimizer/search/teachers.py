"""Which teacher a student gets next: moves inside the teacher pool."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from optimizer.arch.subnets import Subnet, SubnetSpace
from optimizer.search.base import Trial

__all__ = ["Teachers"]


@dataclass(frozen=True)
class Teachers:
    """The teacher's half of a (student, teacher) pair.

    That the first teacher is the largest, and how moves are drawn, are reconstructions (FACTS 1.5).

    Attributes:
        pool: the subnets to choose from.
        fixed: the largest subnet always, as an ablation.
        p_move: probability that the teacher moves where the student does too.
        p_fresh: probability that a move draws any subnet instead of one close to the teacher.
    """

    pool: SubnetSpace
    fixed: bool = False
    p_move: float = 0.5
    p_fresh: float = 0.25

    def of(self, trial: Trial) -> Subnet:
        """The teacher of the pair a trial is; the base's is the largest."""
        return trial.proposal.teacher or self.pool.largest()

    def keep_or_move(self, teacher: Subnet, rng: Random) -> Subnet:
        """The teacher of a student that has changed."""
        return self.move(teacher, rng) if rng.random() < self.p_move else teacher

    def move(self, teacher: Subnet, rng: Random) -> Subnet:
        """Another teacher, where there is one and it may change."""
        if self.fixed:
            return teacher
        moved = self.pool.sample(rng) if rng.random() < self.p_fresh else teacher
        return moved if moved != teacher else self.pool.mutate(teacher, rng)
