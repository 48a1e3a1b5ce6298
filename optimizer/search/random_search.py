"""The baseline every strategy has to beat, and the simplest one to read."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from optimizer.arch.actions import Action, IllegalAction, uniform_importance
from optimizer.arch.space import Space, legal_actions
from optimizer.search.base import History, Proposal, SpaceExhausted

__all__ = ["RandomSearch"]


@dataclass(frozen=True)
class RandomSearch:
    """One to `max_actions` random legal actions on the base, every time anew.

    What an action comes to depends on the trained weights, its legality does not; so a chain is drawn on architectures
    of the same shape and applied to the real weights later.
    """

    space: Space
    max_actions: int = 4

    def ask(self, history: History, rng: Random) -> Proposal:
        arch = history[0].arch
        assert arch is not None
        actions: list[Action] = []
        for _ in range(rng.randint(1, self.max_actions)):
            legal = legal_actions(arch, self.space)
            if not legal:
                break
            action = rng.choice(legal)
            try:
                arch = action.apply(arch, uniform_importance(arch)).child
            except IllegalAction:
                continue
            actions.append(action)
        if not actions:
            raise SpaceExhausted("no action of the search space is legal for the base")
        return Proposal(parent=0, actions=tuple(actions), note=f"{len(actions)} random actions")
