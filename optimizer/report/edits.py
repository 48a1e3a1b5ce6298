"""A proposal in a few words."""

from __future__ import annotations

from optimizer.search.base import Proposal
from optimizer.search.evolution import describe_limit, is_of_body

__all__ = ["describe_aim", "describe_edits"]


def describe_edits(proposal: Proposal) -> str:
    """How a student differs from its parent."""
    if proposal.subnet is not None:
        return f"from the pool: {proposal.subnet}"
    if proposal.arch is not None:
        return proposal.note or "a whole architecture"
    kinds = ", ".join(action.kind for action in proposal.actions).replace("_", " ")
    return kinds or ("fine-tuned" if proposal.finetune else "trained further")


def describe_aim(aim: float, cost: str) -> str:
    """What a student was to cost; `cost` is what shares are of ("latency")."""
    return f"at most {describe_limit(aim)}" if is_of_body(aim) else f"{aim:.2f} of the base's {cost}"
