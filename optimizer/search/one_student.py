"""A run without a search: one student of a chosen architecture, taught by the base."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from optimizer.arch.families import find_family
from optimizer.arch.spec import ArchSpec
from optimizer.search.base import History, Proposal, SpaceExhausted

__all__ = ["OneStudent"]


@dataclass(frozen=True)
class OneStudent:
    """Proposes its student as trial 1, and then nothing."""

    student: ArchSpec

    def ask(self, history: History, rng: Random) -> Proposal:
        if len(history) > 1:
            raise SpaceExhausted("there is one student, and it was tried")
        name = find_family(self.student.body) or "a whole architecture"
        return Proposal(None, (), f"{name}, taught by the base", arch=self.student)
