"""What a detector is shaped like, as immutable values: no weights and no torch here."""

from optimizer.arch.actions import ACTIONS, action_from_json, uniform_importance
from optimizer.arch.block_actions import ChooseBlock
from optimizer.arch.bodies import BODIES, BlockSpec, Body, ResNetSpec, StageSpec
from optimizer.arch.body_actions import AddLayer, PruneChannels, PruneLayer, Rearrange
from optimizer.arch.canvas_actions import Resize, SetRegionProposals
from optimizer.arch.channels import ChannelGroup, kept_channels
from optimizer.arch.edits import Action, Edit, IllegalAction, Importance
from optimizer.arch.encoding import arch_from_encoding, encoding_from_arch
from optimizer.arch.families import FAMILIES, base_arch
from optimizer.arch.heads import HEADS, CenterNetHead, FasterRCNNHead, Head, RetinaNetHead
from optimizer.arch.macs import Cost, count, count_parts
from optimizer.arch.necks import NECKS, DeconvSpec, FpnSpec, Neck
from optimizer.arch.space import Space, contains, legal_actions
from optimizer.arch.spec import ArchSpec
from optimizer.arch.width_actions import PruneBoxHead, PruneBranches, PruneDeconv, PruneFPN, PruneRPN

__all__ = [
    "ACTIONS",
    "BODIES",
    "FAMILIES",
    "HEADS",
    "NECKS",
    "Action",
    "AddLayer",
    "ArchSpec",
    "BlockSpec",
    "Body",
    "CenterNetHead",
    "ChannelGroup",
    "ChooseBlock",
    "Cost",
    "DeconvSpec",
    "Edit",
    "FasterRCNNHead",
    "FpnSpec",
    "Head",
    "IllegalAction",
    "Importance",
    "Neck",
    "PruneBoxHead",
    "PruneBranches",
    "PruneChannels",
    "PruneDeconv",
    "PruneFPN",
    "PruneLayer",
    "PruneRPN",
    "Rearrange",
    "ResNetSpec",
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
    "kept_channels",
    "legal_actions",
    "uniform_importance",
]
