"""Which architectures a search may visit, and which actions lead on from one of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from optimizer.arch.actions import ACTIONS, uniform_importance
from optimizer.arch.bounds import Bounds
from optimizer.arch.edits import Action, IllegalAction
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError

__all__ = ["Space", "contains", "legal_actions"]


@dataclass(frozen=True)
class Space(Bounds):
    """The bounds of a search, and its actions.

    Attributes:
        actions: kinds of action that may be proposed, from `ACTIONS`.
    """

    actions: tuple[str, ...] = tuple(ACTIONS)

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [kind for kind in self.actions if kind not in ACTIONS]
        if unknown:
            raise InputError(f"there is no action {unknown[0]!r}; choose from {', '.join(ACTIONS)}")
        _list_candidates(self)  # an impossible size, ratio or norm is refused here, before any work


def contains(arch: ArchSpec, space: Space) -> bool:
    """Whether canvas, head, depths and widths of an architecture are among those the space allows."""
    return (
        arch.input_size in space.sizes
        and arch.head.region_proposals in (None, *space.region_proposals)
        and all(width >= space.floor(name) for name, width in arch.outer_widths.items())
        and all(depth <= most for depth, most in zip(arch.body.depths, space.max_depths))
        and all(min(block.widths) >= space.min_width for _, _, block in arch.body.blocks())
    )


def legal_actions(arch: ArchSpec, space: Space) -> list[Action]:
    """Every action of the space that can be applied to this architecture, in a fixed order.

    No stage grows past its greatest depth; one that is deeper already may still shrink.
    """
    return list(_find_legal(arch, space))


@lru_cache(maxsize=256)  # strategies ask for the same few architectures again and again
def _find_legal(arch: ArchSpec, space: Space) -> tuple[Action, ...]:
    importance = uniform_importance(arch)
    legal = []
    for action in _list_candidates(space):
        try:
            depths = action.apply(arch, importance).child.body.depths
        except IllegalAction:
            continue
        if all(depth <= max(before, most) for depth, before, most in zip(depths, arch.body.depths, space.max_depths)):
            legal.append(action)
    return tuple(legal)


def _list_candidates(space: Space) -> list[Action]:
    candidates = [candidate for action in ACTIONS.values() for candidate in action.list_candidates(space)]
    return [action for action in candidates if action.kind in space.actions]
