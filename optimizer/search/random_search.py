"""The baseline every strategy has to beat, and the simplest one to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from optimizer.arch.actions import uniform_importance
from optimizer.arch.edits import Action
from optimizer.arch.space import Space, legal_actions
from optimizer.arch.spec import ArchSpec
from optimizer.arch.subnets import Subnet
from optimizer.search.base import History, Proposal, SpaceExhausted, get_done
from optimizer.search.teachers import Teachers

__all__ = ["RandomSearch", "draw_action", "extend_chain"]

ATTEMPTS = 100
DEPTH_KINDS = ("add_layer", "rearrange", "choose_block")  # count the blocks of a stage


@dataclass(frozen=True)
class RandomSearch:
    """One to `max_actions` random legal actions on the base, never the same ones twice, each with a random teacher."""

    space: Space
    max_actions: int = 4
    teachers: Teachers | None = None

    def ask(self, history: History, rng: Random) -> Proposal:
        base = get_done(history, 0).arch
        tried = {trial.proposal.actions for trial in history}  # the base's: none at all
        for _ in range(ATTEMPTS):
            actions = self._draw_chain(base, rng)
            if actions not in tried:
                return Proposal(0, actions, f"{len(actions)} random actions", teacher=self._draw_teacher(rng))
        raise SpaceExhausted(f"{ATTEMPTS} random chains of actions on the base held none that is new")

    def _draw_teacher(self, rng: Random) -> Subnet | None:
        if self.teachers is None:
            return None
        return self.teachers.pool.largest() if self.teachers.fixed else self.teachers.pool.sample(rng)

    def _draw_chain(self, arch: ArchSpec, rng: Random) -> tuple[Action, ...]:
        return extend_chain((), arch, self.space, rng.randint(1, self.max_actions), rng)


def extend_chain(
    chain: tuple[Action, ...], arch: ArchSpec, space: Space, length: int, rng: Random
) -> tuple[Action, ...]:
    """Random legal actions behind those of `chain`, on `arch`, until there are `length` or none is legal.

    From which stage a layer is pruned is known only with the trained weights, so none of the actions that depend on a
    stage's depth is drawn after it. Nothing is decided twice, so no action undoes an earlier one.
    """
    for action in chain:
        arch = action.apply(arch, uniform_importance(arch)).child
    while len(chain) < length:
        legal = [action for action in legal_actions(arch, space) if not any(map(action.overrides, chain))]
        if any(action.kind == "prune_layer" for action in chain):
            legal = [action for action in legal if action.kind not in DEPTH_KINDS]
        if not legal:
            break
        chain = (*chain, draw_action(legal, rng))
        arch = chain[-1].apply(arch, uniform_importance(arch)).child
    return chain


def draw_action(actions: Sequence[Action], rng: Random) -> Action:
    """First a kind, then one action of it: six ways to rearrange weigh no more than the one way to prune a layer."""
    kind = rng.choice(sorted({action.kind for action in actions}))
    return rng.choice([action for action in actions if action.kind == kind])
