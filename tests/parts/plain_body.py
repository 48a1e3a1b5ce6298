"""A body of a kind that no other file knows: plain convolutions, its spec and its module."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from optimizer.arch.bodies import Block, Body, Layer, Position, StageSpec
from optimizer.arch.channels import ChannelGroup
from optimizer.arch.cost import Cost, count_conv, count_norm, count_relu
from optimizer.arch.maps import FeatureMap

__all__ = ["Plain", "PlainBlock", "PlainSpec"]


@dataclass(frozen=True)
class PlainBlock(Block):
    """One 3x3 convolution; there is no shortcut."""

    def count(self, incoming: FeatureMap) -> Cost:
        width, cells = self.out_width, self.put_out(incoming).cells
        return count_conv(incoming.width, width, 3, cells) + count_norm(width, cells) + count_relu(width, cells)

    def list_layers(self, in_width: int) -> list[Layer]:
        return [Layer("conv", "norm", (self.out_width, in_width, 3, 3), writes=0, reads=None)]


@dataclass(frozen=True)
class PlainSpec(Body[PlainBlock]):
    """A 4x4 stem of stride 4, and stages of plain convolutions."""

    kind = "plain"

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PlainSpec:
        stages = [
            StageSpec(tuple(PlainBlock(tuple(block["widths"]), block["stride"]) for block in stage["blocks"]))
            for stage in value["stages"]
        ]
        return cls(tuple(stages), value["stem_width"])

    def stem_map(self, input_size: tuple[int, int]) -> FeatureMap:
        return FeatureMap.of_canvas(input_size).halve().halve().widen(self.stem_width)

    def count_stem(self, input_size: tuple[int, int]) -> Cost:
        return count_conv(3, self.stem_width, 4, self.stem_map(input_size).cells, bias=True)

    def name_block(self, position: Position) -> str:
        return "stages.{}.{}".format(*position)

    def name_norm(self, group: str) -> str:
        return f"stages.{group}.norm"

    def channel_groups(self) -> tuple[ChannelGroup, ...]:
        return tuple(
            ChannelGroup((f"{stage}.{index}",), block.out_width, ((stage, index, 0),))
            for stage, index, block in self.blocks()
        )


class Plain(nn.Module):
    def __init__(self, spec: PlainSpec) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, spec.stem_width, 4, 4)
        self.stages = nn.ModuleList()
        width = spec.stem_width
        for stage in spec.stages:
            blocks = nn.Sequential()
            for block in stage.blocks:
                layers = OrderedDict(
                    conv=nn.Conv2d(width, block.out_width, 3, block.stride, 1, bias=False),
                    norm=nn.BatchNorm2d(block.out_width),
                    relu=nn.ReLU(),
                )
                blocks.append(nn.Sequential(layers))
                width = block.out_width
            self.stages.append(blocks)

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        x, maps = self.stem(images), OrderedDict()
        for index, stage in enumerate(self.stages):
            x = maps[str(index)] = stage(x)
        return maps
