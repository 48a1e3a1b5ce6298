"""What a detector is shaped like, as immutable values: no weights and no torch here."""

from optimizer.arch.actions import (
    ACTIONS,
    Action,
    AddLayer,
    Edit,
    IllegalAction,
    Importance,
    PruneBoxHead,
    PruneChannels,
    PruneFPN,
    PruneLayer,
    PruneRPN,
    Rearrange,
    Resize,
    SetRegionProposals,
    action_from_json,
    kept_channels,
    uniform_importance,
)
from optimizer.arch.channels import ChannelGroup, group_channels
from optimizer.arch.encoding import arch_from_encoding, encoding_from_arch
from optimizer.arch.families import FAMILIES, base_arch
from optimizer.arch.macs import Cost, count, count_parts
from optimizer.arch.space import Space, contains, legal_actions
from optimizer.arch.spec import ArchSpec, BlockSpec, FasterRCNNHead, Head, RetinaNetHead, StageSpec

__all__ = [
    "ACTIONS",
    "FAMILIES",
    "Action",
    "AddLayer",
    "ArchSpec",
    "BlockSpec",
    "ChannelGroup",
    "Cost",
    "Edit",
    "FasterRCNNHead",
    "Head",
    "IllegalAction",
    "Importance",
    "PruneBoxHead",
    "PruneChannels",
    "PruneFPN",
    "PruneLayer",
    "PruneRPN",
    "Rearrange",
    "Resize",
    "RetinaNetHead",
    "SetRegionProposals",
    "Space",
    "StageSpec",
    "action_from_json",
    "arch_from_encoding",
    "base_arch",
    "contains",
    "count",
    "count_parts",
    "encoding_from_arch",
    "group_channels",
    "kept_channels",
    "legal_actions",
    "uniform_importance",
]
