"""The action on bodies that have a choice of blocks in every place, as DetNAS' have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from optimizer.arch.bodies.base import StageSpec
from optimizer.arch.bodies.shufflenet import CHOICES
from optimizer.arch.bounds import Bounds
from optimizer.arch.edits import Action, Edit, IllegalAction, Importance, PlainAction, keep_blocks
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError

__all__ = ["ChooseBlock"]


@dataclass(frozen=True)
class ChooseBlock(PlainAction):
    """Exchange the block in one place for another one that fits there.

    Attributes:
        stage, block: the place, both counted from 0.
        choice: the number of the new block: shuffle blocks with 3x3, 5x5 and 7x7, or an xception block.
    """

    kind = "choose_block"
    stage: int
    block: int
    choice: int

    def __post_init__(self) -> None:
        if self.stage not in range(4) or self.block < 0 or self.choice not in CHOICES:
            raise InputError(f"a place has a stage from 0 to 3, a block from 0 and a choice of {CHOICES}, not {self}")

    @classmethod
    def list_candidates(cls, bounds: Bounds) -> Iterable[ChooseBlock]:
        places = ((stage, block) for stage, depth in enumerate(bounds.max_depths) for block in range(depth))
        return [cls(stage, block, choice) for stage, block in places for choice in CHOICES]

    def overrides(self, other: Action) -> bool:
        return isinstance(other, ChooseBlock) and (other.stage, other.block) == (self.stage, self.block)

    def apply(self, arch: ArchSpec, importance: Importance) -> Edit:
        stages = list(arch.body.stages)
        if self.stage >= len(stages) or self.block >= len(stages[self.stage].blocks):
            raise IllegalAction(f"there is no block {self.block + 1} in stage {self.stage + 1}")
        blocks = list(stages[self.stage].blocks)
        blocks[self.block] = blocks[self.block].choose(self.choice)
        stages[self.stage] = StageSpec(tuple(blocks))
        return keep_blocks(arch, replace(arch, body=replace(arch.body, stages=tuple(stages))))
