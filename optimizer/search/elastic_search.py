"""Search among the subnets of the teacher pool, the paper's "ETP search only": none is pruned."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from optimizer.arch.subnets import SubnetSpace
from optimizer.search.base import History, Proposal, SpaceExhausted
from optimizer.search.hill_climb import draw_rank, rank_best
from optimizer.search.teachers import Teachers

__all__ = ["ElasticSearch"]

ATTEMPTS = 100


@dataclass(frozen=True)
class ElasticSearch:
    """Subnets of the pool, drawn at first, then mutations of the best ones; each is extracted and trained further.

    The paper reports the method's results (S0, Table 3) and not its steps: a reconstruction.

    Attributes:
        rank_weights: as in `HillClimb`.
        drawn: first trials that are drawn from the whole pool.
        teachers: None trains without a teacher; otherwise the largest subnet teaches.
    """

    pool: SubnetSpace
    rank_weights: tuple[float, ...] = (5, 4, 3, 2, 1)
    drawn: int = 3
    teachers: Teachers | None = None

    def ask(self, history: History, rng: Random) -> Proposal:
        tried = {trial.proposal.subnet for trial in history}
        members = [trial for trial in history if trial.proposal.subnet is not None]
        best = rank_best(members, len(self.rank_weights))
        teacher = self.teachers.pool.largest() if self.teachers is not None else None
        for _ in range(ATTEMPTS):
            if len(members) < self.drawn or not best:
                subnet, note = self.pool.sample(rng), "drawn from the pool"
            else:
                rank = draw_rank(range(len(best)), self.rank_weights, rng)
                parent = best[rank].proposal.subnet
                assert parent is not None
                subnet, note = self.pool.mutate(parent, rng), f"mutation of trial {best[rank].number}"
            if subnet not in tried:
                return Proposal(None, (), note, teacher=teacher, subnet=subnet)
        raise SpaceExhausted(f"{ATTEMPTS} draws from the teacher pool held none that is new")
