"""The actions of the Joint-DetNAS paper (supplement, A.1.2 and A.3), and `ACTIONS`, the catalogue of all there are.

Ours, which narrow neck and heads, are in `width_actions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optimizer.arch.bodies.base import Block, StageSpec
from optimizer.arch.channels import kept_channels, shrunk_widths
from optimizer.arch.edits import Action, Edit, IllegalAction, Importance, PlainAction, Position, keep_blocks
from optimizer.arch.maps import FeatureMap
from optimizer.arch.spec import MIN_SIDE_PX, ArchSpec
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
    """Drop the globally least important channels of the body, in units of `round_to` or of a whole conv group.

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
        groups = arch.body.channel_groups()
        widths = shrunk_widths(groups, importance.channels, self.ratio, self.round_to, self.min_width)
        if widths == tuple(group.width for group in groups):
            raise IllegalAction(f"no channels left to prune: every width is at its floor of {self.min_width}")
        new_widths = {site: width for group, width in zip(groups, widths) for site in group.sites}
        rows = _list_rows(arch)
        for stage, block_index, block in arch.body.blocks():
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
        for stage, block_index, block in arch.body.blocks():
            if block_index > 0 and not block.starts_stream:
                norm = importance.blocks[stage, block_index]
                if self.norm == "mean":  # an identity shortcut: what comes in is as wide as what goes out
                    norm /= block.count(FeatureMap(block.out_width, 1, 1, 1)).params
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
        if self.stage >= len(rows):
            raise IllegalAction(f"there is no stage {self.stage + 1}")
        rows[self.stage].append(_Row(rows[self.stage][-1].block.grow(), None))
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
        stages = arch.body.stages
        if not (self.stage < len(stages) and 0 <= taker < len(stages)):
            raise IllegalAction(f"stage {self.stage + 1} has no neighbour to hand its {self.end} block to")
        if len(stages[self.stage].blocks) == 1:
            raise IllegalAction(f"stage {self.stage + 1} has a single block and cannot give it away")
        rows = _list_rows(arch)
        if self.end == "last":
            _move_head(rows[taker], stride=1)
            rows[taker].insert(0, rows[self.stage].pop())
            _move_head(rows[taker], stride=2)
        else:
            _move_head(rows[self.stage], stride=1)
            rows[taker].append(rows[self.stage].pop(0))
            _move_head(rows[self.stage], stride=2)
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
    """Change how many region proposals reach the box head."""

    kind = "set_region_proposals"
    of_canvas = True
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"a detector has at least one region proposal, not {self.count}")

    def apply(self, arch: ArchSpec, importance: Importance) -> Edit:
        if arch.head.region_proposals is None:
            raise IllegalAction(f"a detector of kind {arch.head.kind} has no region proposals")
        if self.count == arch.head.region_proposals:
            raise IllegalAction(f"the head has {self.count} region proposals already")
        return keep_blocks(arch, replace(arch, head=arch.head.propose(self.count)))


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
        channels={name: (1.0,) * group.width for group in arch.body.channel_groups() for name in group.names},
        blocks={(stage, block): 1.0 for stage, block, _ in arch.body.blocks()},
    )


@dataclass(frozen=True)
class _Row:
    """A block of the child and where it comes from."""

    block: Block
    source: Position | None

    def change(self, block: Block) -> _Row:
        return replace(self, block=block)


def _list_rows(arch: ArchSpec) -> list[list[_Row]]:
    return [
        [_Row(block, (stage_index, block_index)) for block_index, block in enumerate(stage.blocks)]
        for stage_index, stage in enumerate(arch.body.stages)
    ]


def _make_edit(parent: ArchSpec, rows: Sequence[Sequence[_Row]]) -> Edit:
    stages = tuple(StageSpec(tuple(row.block for row in stage)) for stage in rows)
    body = replace(parent.body, stages=stages)
    return Edit(parent, replace(parent, body=body), tuple(tuple(row.source for row in stage) for stage in rows))


def _move_head(stage: list[_Row], stride: int) -> None:
    stage[0] = stage[0].change(stage[0].block.move(stride))


def _check_stage(stage: int) -> None:
    if stage not in range(4):
        raise InputError(f"stages are counted from 0 to 3, not {stage}")
