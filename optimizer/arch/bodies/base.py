"""What a body answers for: the maps it puts out, its cost, its blocks, and which of their channels go together.

A body is a stem and stages of blocks, one after the other. Actions edit the blocks and ask each block what may be done
to it; `morph` asks it for the layers whose weights a child takes over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from optimizer.arch.channels import ChannelGroup
from optimizer.arch.cost import Cost
from optimizer.arch.maps import FeatureMap
from optimizer.arch.parts import IllegalAction, Part
from optimizer.errors import InputError

__all__ = ["AnyBody", "Block", "Body", "Layer", "Position", "StageSpec"]

Position = tuple[int, int]  # (stage index, block index), both from 0


@dataclass(frozen=True)
class Layer:
    """A convolution of a block and the BatchNorm behind it.

    Attributes:
        conv, norm: names of the two within the block.
        shape: of the convolution's weight: (out, in / groups, kernel, kernel).
        writes: which of the block's widths are its outputs.
        reads: whose outputs it reads, by the number of their width; None is what comes into the block.
        group_width: channels per group of a grouped convolution, which may be down to one group; 0 is an ordinary one.
    """

    conv: str
    norm: str
    shape: tuple[int, int, int, int]
    writes: int
    reads: int | None
    group_width: int = 0


@dataclass(frozen=True)
class Block(ABC):
    """One block of a body.

    Attributes:
        widths: output channels of its convolutions; the last is the block's output width.
        stride: of the whole block.
    """

    widths: tuple[int, ...]
    stride: int = 1

    @property
    def out_width(self) -> int:
        return self.widths[-1]

    @property
    def starts_stream(self) -> bool:
        """Whether its output channels are its own; otherwise its shortcut hands on those that come in."""
        return True

    def put_out(self, incoming: FeatureMap) -> FeatureMap:
        """The map it makes of an incoming one."""
        return (incoming.halve() if self.stride == 2 else incoming).widen(self.out_width)

    @abstractmethod
    def count(self, incoming: FeatureMap) -> Cost:
        """Its cost on an incoming map."""

    @abstractmethod
    def list_layers(self, in_width: int) -> list[Layer]:
        """Its convolutions in the order of its widths, then that of the shortcut where there is one."""

    def grow(self) -> Block:
        """A block to put behind this one that can begin as an identity; raises `IllegalAction` where there is none."""
        raise IllegalAction("no block can be put behind one of this kind without changing what the network computes")

    def move(self, stride: int) -> Block:
        """This block in another place, with another stride; raises `IllegalAction` where it cannot."""
        raise IllegalAction("blocks of this kind stay where they are")

    def choose(self, choice: int) -> Block:
        """The block of another number for the same place; raises `IllegalAction` where there is no such choice."""
        raise IllegalAction("there is no choice of blocks in this place")

    def name_origin(self, layer: Layer, source: Block) -> str | None:
        """The convolution of `source` whose weights one of this block's layers takes over; None is none.

        The two may differ in kernel, and `source` need not have a convolution of this name.
        """
        return layer.conv


B = TypeVar("B", bound=Block)
S = TypeVar("S", bound="Body[Any]")


@dataclass(frozen=True)
class StageSpec(Generic[B]):
    """Blocks of one stage, in order."""

    blocks: tuple[B, ...]

    def __post_init__(self) -> None:
        if not self.blocks:
            raise InputError("a stage has at least one block")

    @property
    def out_width(self) -> int:
        return self.blocks[-1].out_width


@dataclass(frozen=True)
class Body(Part, Generic[B]):
    """Stem and stages.

    Attributes:
        stages: each puts out a map.
        stem_width: output channels of the stem.
    """

    stages: tuple[StageSpec[B], ...]
    stem_width: int = 64

    @abstractmethod
    def stem_map(self, input_size: tuple[int, int]) -> FeatureMap:
        """What the stem puts out on a canvas (width, height)."""

    @abstractmethod
    def count_stem(self, input_size: tuple[int, int]) -> Cost:
        """Cost of the stem."""

    @abstractmethod
    def channel_groups(self) -> tuple[ChannelGroup, ...]:
        """Every group of channels that may be pruned, in the order data flows; none where nothing may."""

    @abstractmethod
    def name_block(self, position: Position) -> str:
        """The name of a block's tensors within the body, without the last dot."""

    @abstractmethod
    def name_norm(self, group: str) -> str:
        """The BatchNorm within the body whose scale decides over a group, by one of `ChannelGroup.names`."""

    def encode(self) -> str:
        """The text that its shape is written as in papers: here the widths of every block."""
        stages = ("-".join(f"({', '.join(map(str, block.widths))})" for block in stage.blocks) for stage in self.stages)
        return ", ".join(f"[{stage}]" for stage in stages)

    @property
    def sliceable(self) -> bool:
        """Whether its first channels and first blocks make a body of the same kind: what an elastic pool is made of."""
        return False

    def stretch(self: S, depths: tuple[int, ...], factors: tuple[float, ...]) -> S:
        """With other depths, and widths that are multiples of its own; for each stage one. Of sliceable bodies only."""
        raise AssertionError(f"a body of kind {self.kind} is not sliceable")

    def blocks(self) -> Iterator[tuple[int, int, B]]:
        """(stage index, block index, block), both from 0, in the order data flows."""
        for stage_index, stage in enumerate(self.stages):
            for block_index, block in enumerate(stage.blocks):
                yield stage_index, block_index, block

    def layers(self) -> dict[Position, list[Layer]]:
        """The layers of every block, in the order data flows."""
        layers, width = {}, self.stem_width
        for stage, index, block in self.blocks():
            layers[stage, index] = block.list_layers(width)
            width = block.out_width
        return layers

    @property
    def depths(self) -> tuple[int, ...]:
        return tuple(len(stage.blocks) for stage in self.stages)

    def maps(self, input_size: tuple[int, int]) -> tuple[FeatureMap, ...]:
        """What each stage puts out on a canvas (width, height), the finest map first."""
        current = self.stem_map(input_size)
        maps = []
        for stage in self.stages:
            for block in stage.blocks:
                current = block.put_out(current)
            maps.append(current)
        return tuple(maps)

    def count(self, input_size: tuple[int, int]) -> Cost:
        """Cost of stem and stages."""
        cost, current = self.count_stem(input_size), self.stem_map(input_size)
        for _, _, block in self.blocks():
            cost += block.count(current)
            current = block.put_out(current)
        return cost


AnyBody = Body[Any]
