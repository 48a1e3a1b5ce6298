"""The actions of the Joint-DetNAS paper on the body (supplement, A.1.2 and A.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from optimizer.arch.bodies.base import Block, Position, StageSpec
from optimizer.arch.bounds import Bounds
from optimizer.arch.channels import shrunk_widths
from optimizer.arch.edits import Edit, IllegalAction, Importance, PlainAction
from optimizer.arch.maps import FeatureMap
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError

__all__ = ["AddLayer", "PruneChannels", "PruneLayer", "Rearrange"]


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

    @classmethod
    def list_candidates(cls, bounds: Bounds) -> Iterable[PruneChannels]:
        return [cls(bounds.prune_ratio, bounds.round_to, bounds.min_width)]

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

    @classmethod
    def list_candidates(cls, bounds: Bounds) -> Iterable[PruneLayer]:
        return [cls(bounds.layer_norm)]

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

    @classmethod
    def list_candidates(cls, bounds: Bounds) -> Iterable[AddLayer]:
        return [cls(stage) for stage in range(len(bounds.max_depths))]

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

    @classmethod
    def list_candidates(cls, bounds: Bounds) -> Iterable[Rearrange]:
        return [cls(stage, end) for stage in range(len(bounds.max_depths)) for end in ("first", "last")]

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
