"""The actions of the Joint-DetNAS paper (supplement, A.1.2 and A.3), and `ACTIONS`, the catalogue of all there are.

Ours, which narrow neck and heads, are in `width_actions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optimizer.arch.channels import group_channels, kept_channels, shrunk_widths
from optimizer.arch.edits import Action, Edit, IllegalAction, Importance, PlainAction, Position, keep_blocks
from optimizer.arch.macs import count_block_params
from optimizer.arch.spec import MIN_SIDE_PX, ArchSpec, BlockSpec, FasterRCNNHead, StageSpec
from optimizer.arch.width_actions import PruneBoxHead, PruneFPN, PruneRPN
from optimizer.errors import InputError

__all__ = [
    "ACTIONS",
    "Action",
    "AddLayer",
    "Edit",
    "IllegalAction",
    "Importance",
    "Position",
    "PruneBoxHead",
    "PruneChannels",
    "PruneFPN",
    "PruneLayer",
    "PruneRPN",
    "Rearrange",
    "Resize",
    "SetRegionProposals",
    "action_from_json",
    "kept_channels",
    "uniform_importance",
]


@dataclass(frozen=True)
class PruneChannels(PlainAction):
    """Drop the globally least important channels of the backbone, in units of `round_to` or of a whole conv group.

    Attributes:
        ratio: share of all prunable channels to drop; the last unit may overshoot it. 0.1 is best supported by the
            published students (a reconstruction: the paper's ratio is not known).
        round_to: widths become multiples of it; 1 is the paper's, 8 suits devices.
        min_width: no convolution shrinks below it; 32 is the narrowest in the published students.
    """

    kind = "prune_channels"
    prunes = True
    ratio: float = 0.1
    round_to: int = 8
    min_width: int = 32

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1 or min(self.round_to, self.min_width) < 1:
            raise InputError(f"channel pruning needs a ratio between 0 and 1, rounding and floor from 1, not {self}")

    def apply(self, arch: ArchSpec, importance: Importance) -> Edit:
        groups = group_channels(arch)
        widths = shrunk_widths(groups, importance.channels, self.ratio, self.round_to, self.min_width)
        if widths == tuple(group.width for group in groups):
            raise IllegalAction(f"no channels left to prune: every width is at its floor of {self.min_width}")
        new_widths = {site: width for group, width in zip(groups, widths) for site in group.sites}
        rows = _list_rows(arch)
        for stage, block_index, block in arch.blocks():
            block_widths = tuple(
                new_widths.get((stage, block_index, conv), width) for conv, width in enumerate(block.widths)
            )
            rows[stage][block_index] = rows[stage][block_index].change(replace(block, widths=block_widths))
        return _make_edit(arch, rows)


@dataclass(frozen=True)
class PruneLayer(PlainAction):
    """Drop the least important block of all that have an identity shortcut and are not the first of their stage.

    Attributes:
        norm: "sum" ranks by the L1 norm of a block's parameters, as the paper says; "mean" divides it by their number,
            which explains the published R101 student better (a reconstruction) and does not favour narrow blocks.
    """

    kind = "prune_layer"
    prunes = True
    norm: str = "sum"

    def __post_init__(self) -> None:
        if self.norm not in ("sum", "mean"):
            raise InputError(f"layer pruning ranks by 'sum' or 'mean', not {self.norm!r}")

    def apply(self, arch: ArchSpec, importance: Importance) -> Edit:
        ranked = []
        for stage, block_index, block in arch.blocks():
            if block_index > 0 and not block.projection:
                norm = importance.blocks[stage, block_index]
                if self.norm == "mean":  # an identity shortcut: what comes in is as wide as what goes out
                    norm /= count_block_params(block, in_width=block.out_width)
                ranked.append((norm, stage, block_index))
        if not ranked:
            raise IllegalAction("no block left to remove: each is its stage's first or has a projection")
        _, stage, block_index = min(ranked)
        rows = _list_rows(arch)
        del rows[stage][block_index]
        return _make_edit(arch, rows)


@dataclass(frozen=True)
class AddLayer(PlainAction):
    """Append to a stage (counted from 0) a block with the widths of its last one; it arrives as an identity."""

    kind = "add_layer"
    stage: int

    def __post_init__(self) -> None:
        _check_stage(self.stage)

    def apply(self, arch: ArchSpec, importance: Importance) -> Edit:
        rows = _list_rows(arch)
        rows[self.stage].append(_Row(replace(rows[self.stage][-1].block, stride=1, projection=False), None))
        return _make_edit(arch, rows)


@dataclass(frozen=True)
class Rearrange(PlainAction):
    """Hand a stage's first block to the tail of the stage before, or its last block to the head of the stage after.

    Whatever block then heads the later stage has stride 2 and a projection; every other projection stays, with stride 1
    (settled by the FLOPs of the published students).

    Attributes:
        stage: the stage that gives, counted from 0.
        end: "first" or "last".
    """

    kind = "rearrange"
    stage: int
    end: str

    def __post_init__(self) -> None:
        _check_stage(self.stage)
        if self.end not in ("first", "last"):
            raise InputError(f"a stage hands over its 'first' or its 'last' block, not {self.end!r}")

    def apply(self, arch: ArchSpec, importance: Importance) -> Edit:
        taker = self.stage + (1 if self.end == "last" else -1)
        if not 0 <= taker < len(arch.stages):
            raise IllegalAction(f"stage {self.stage + 1} has no neighbour to hand its {self.end} block to")
        if len(arch.stages[self.stage].blocks) == 1:
            raise IllegalAction(f"stage {self.stage + 1} has a single block and cannot give it away")
        rows = _list_rows(arch)
        if self.end == "last":
            _flatten_head(rows[taker])
            rows[taker].insert(0, rows[self.stage].pop())
            _stride_head(rows[taker])
        else:
            _flatten_head(rows[self.stage])
            rows[taker].append(rows[self.stage].pop(0))
            _stride_head(rows[self.stage])
        return _make_edit(arch, rows)


@dataclass(frozen=True)
class Resize(PlainAction):
    """Change the canvas to `size`, (width, height) in pixels; the anchor scale stays, because the weights know it."""

    kind = "resize"
    of_canvas = True
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < MIN_SIDE_PX:
            size = "x".join(str(side) for side in self.size)
            raise InputError(f"a canvas has two sides of at least {MIN_SIDE_PX} pixels, not {size}")

    def apply(self, arch: ArchSpec, importance: Importance) -> Edit:
        if self.size == arch.input_size:
            raise IllegalAction(f"the canvas is {self.size[0]}x{self.size[1]} already")
        return keep_blocks(arch, replace(arch, input_size=self.size))


@dataclass(frozen=True)
class SetRegionProposals(PlainAction):
    """Change how many region proposals reach the box head of a Faster R-CNN."""

    kind = "set_region_proposals"
    of_canvas = True
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"a Faster R-CNN has at least one region proposal, not {self.count}")

    def apply(self, arch: ArchSpec, importance: Importance) -> Edit:
        if not isinstance(arch.head, FasterRCNNHead):
            raise IllegalAction(f"a detector of kind {arch.head.kind} has no region proposals")
        if self.count == arch.head.region_proposals:
            raise IllegalAction(f"the head has {self.count} region proposals already")
        return keep_blocks(arch, replace(arch, head=replace(arch.head, region_proposals=self.count)))


ACTIONS: Mapping[str, type[Any]] = {
    "prune_channels": PruneChannels,
    "prune_layer": PruneLayer,
    "add_layer": AddLayer,
    "rearrange": Rearrange,
    "resize": Resize,
    "set_region_proposals": SetRegionProposals,
    "prune_fpn": PruneFPN,
    "prune_rpn": PruneRPN,
    "prune_box_head": PruneBoxHead,
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
        channels={name: (1.0,) * group.width for group in group_channels(arch) for name in group.names},
        blocks={(stage, block): 1.0 for stage, block, _ in arch.blocks()},
    )


@dataclass(frozen=True)
class _Row:
    """A block of the child and where it comes from."""

    block: BlockSpec
    source: Position | None

    def change(self, block: BlockSpec) -> _Row:
        return replace(self, block=block)


def _list_rows(arch: ArchSpec) -> list[list[_Row]]:
    return [
        [_Row(block, (stage_index, block_index)) for block_index, block in enumerate(stage.blocks)]
        for stage_index, stage in enumerate(arch.stages)
    ]


def _make_edit(parent: ArchSpec, rows: Sequence[Sequence[_Row]]) -> Edit:
    stages = tuple(StageSpec(tuple(row.block for row in stage)) for stage in rows)
    return Edit(parent, replace(parent, stages=stages), tuple(tuple(row.source for row in stage) for stage in rows))


def _flatten_head(stage: list[_Row]) -> None:
    stage[0] = stage[0].change(replace(stage[0].block, stride=1))


def _stride_head(stage: list[_Row]) -> None:
    stage[0] = stage[0].change(replace(stage[0].block, stride=2, projection=True))


def _check_stage(stage: int) -> None:
    if stage not in range(4):
        raise InputError(f"stages are counted from 0 to 3, not {stage}")
