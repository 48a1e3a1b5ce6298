"""`ACTIONS`, the catalogue of all actions there are.

Joint-DetNAS' are in `body_actions` and `canvas_actions`; ours, which narrow neck and heads, in `width_actions`, and the
one that exchanges blocks in `block_actions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimizer.arch.block_actions import ChooseBlock
from optimizer.arch.body_actions import AddLayer, PruneChannels, PruneLayer, Rearrange
from optimizer.arch.canvas_actions import Resize, SetRegionProposals
from optimizer.arch.edits import Action, Importance
from optimizer.arch.spec import ArchSpec
from optimizer.arch.width_actions import PruneBoxHead, PruneBranches, PruneDeconv, PruneFPN, PruneRPN
from optimizer.errors import InputError

__all__ = ["ACTIONS", "action_from_json", "uniform_importance"]

ACTIONS: Mapping[str, type[Any]] = {
    "prune_channels": PruneChannels,
    "prune_layer": PruneLayer,
    "add_layer": AddLayer,
    "rearrange": Rearrange,
    "choose_block": ChooseBlock,
    "resize": Resize,
    "set_region_proposals": SetRegionProposals,
    "prune_fpn": PruneFPN,
    "prune_rpn": PruneRPN,
    "prune_box_head": PruneBoxHead,
    "prune_deconv": PruneDeconv,
    "prune_branches": PruneBranches,
}


def action_from_json(value: Mapping[str, Any]) -> Action:
    """The inverse of `Action.to_json`; an `InputError` names what is missing or unknown."""
    try:
        settings = {
            name: tuple(item) if isinstance(item, list) else item for name, item in value.items() if name != "kind"
        }
        action: Action = ACTIONS[value["kind"]](**settings)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"not an action: {value!r} ({error!r}); kinds are {', '.join(ACTIONS)}") from error
    return action


def uniform_importance(arch: ArchSpec) -> Importance:
    """An importance that prefers nothing, to see without weights what an action would come to."""
    return Importance(
        channels={name: (1.0,) * group.width for group in arch.body.channel_groups() for name in group.names},
        blocks={(stage, block): 1.0 for stage, block, _ in arch.body.blocks()},
    )
