"""`ResNetSpec`: ResNets and ResNeXts of any widths and depths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from optimizer.arch.bodies.base import Block, Body, Layer, Position, StageSpec
from optimizer.arch.channels import ChannelGroup, Site
from optimizer.arch.cost import Cost, count_conv, count_norm, count_relu
from optimizer.arch.maps import FeatureMap
from optimizer.arch.parts import Form, drop_usual, later_field
from optimizer.errors import InputError

__all__ = ["STEM_WIDTH", "BlockSpec", "ResNetSpec", "lay_out_stages", "make_resnet"]

STEM_WIDTH = 64
R = TypeVar("R", bound="ResNetSpec")


@dataclass(frozen=True)
class BlockSpec(Block):
    """One residual block.

    Attributes:
        widths: output channels of each convolution in order: two numbers are a basic block (3x3, 3x3), three a
            bottleneck (1x1, 3x3, 1x1). The last is the block's output width.
        stride: of the whole block; sits on the first 3x3 convolution ("pytorch style") unless `early_stride`.
        group_width: channels per group of the bottleneck's 3x3 convolution; 0 is an ordinary convolution.
        projection: whether the shortcut is a 1x1 convolution with BatchNorm; otherwise it is the identity.
        early_stride: whether the stride of a bottleneck sits on its first 1x1 convolution ("caffe style").
    """

    group_width: int = 0
    projection: bool = False
    early_stride: bool = later_field(False)

    def __post_init__(self) -> None:
        if len(self.widths) not in (2, 3) or min(self.widths) < 1:
            raise InputError(f"a block has two or three positive widths, not {self.widths}")
        if self.stride not in (1, 2):
            raise InputError(f"a block's stride is 1 or 2, not {self.stride}")
        if self.group_width and (
            len(self.widths) != 3 or self.widths[0] != self.widths[1] or self.widths[1] % self.group_width
        ):
            raise InputError(
                f"a grouped bottleneck has equal inner widths, multiples of {self.group_width}, not {self.widths}"
            )
        if self.early_stride and len(self.widths) != 3:
            raise InputError(f"a stride on the first 1x1 convolution is a bottleneck's, not {self.widths}'s")

    @property
    def groups(self) -> int:
        """Groups of the 3x3 convolution in a bottleneck (1 without grouping)."""
        return self.widths[1] // self.group_width if self.group_width else 1

    @property
    def starts_stream(self) -> bool:
        return self.projection

    def count(self, incoming: FeatureMap) -> Cost:
        """The last ReLU follows the addition."""
        outgoing = self.put_out(incoming)
        convs: tuple[tuple[int, FeatureMap, int], ...]  # kernel, map, groups
        if len(self.widths) == 2:
            convs = ((3, outgoing, 1), (3, outgoing, 1))
        else:
            convs = ((1, outgoing if self.early_stride else incoming, 1), (3, outgoing, self.groups), (1, outgoing, 1))
        cost = Cost()
        width = incoming.width
        for out_width, (kernel, conv_map, groups) in zip(self.widths, convs):
            cells = conv_map.cells
            cost += count_conv(width, out_width, kernel, cells, groups)
            cost += count_norm(out_width, cells) + count_relu(out_width, cells)
            width = out_width
        if self.projection:
            cost += count_conv(incoming.width, self.out_width, 1, outgoing.cells)
            cost += count_norm(self.out_width, outgoing.cells)
        return cost

    def list_layers(self, in_width: int) -> list[Layer]:
        kernels = (3, 3) if len(self.widths) == 2 else (1, 3, 1)
        layers = []
        width = in_width
        for index, (out_width, kernel) in enumerate(zip(self.widths, kernels)):
            group_width = self.group_width if index == 1 else 0
            shape = (out_width, group_width or width, kernel, kernel)
            reads = index - 1 if index else None
            layers.append(Layer(f"conv{index + 1}", f"bn{index + 1}", shape, index, reads, group_width))
            width = out_width
        if self.projection:
            last = len(self.widths) - 1
            layers.append(Layer("downsample.0", "downsample.1", (self.out_width, in_width, 1, 1), last, None))
        return layers

    def grow(self) -> BlockSpec:
        return replace(self, stride=1, projection=False)

    def move(self, stride: int) -> BlockSpec:
        """A block that comes to have a stride gets a projection with it; one that loses its stride keeps its own."""
        return replace(self, stride=stride, projection=self.projection or stride == 2)


@dataclass(frozen=True)
class ResNetSpec(Body[BlockSpec]):
    """A 7x7 stem, a max-pool and four stages of residual blocks, strides 4, 8, 16 and 32.

    Tensors have torchvision's names.
    """

    kind = "resnet"
    stem_width: int = STEM_WIDTH

    def __post_init__(self) -> None:
        if len(self.stages) != 4:
            raise InputError(f"a ResNet has four stages, not {len(self.stages)}")
        if self.stem_width < 1:
            raise InputError(f"the stem's width is positive, not {self.stem_width}")
        width = self.stem_width
        for stage_index, block_index, block in self.blocks():
            if not block.projection and (block.out_width != width or block.stride != 1):
                raise InputError(
                    f"block {stage_index + 1}.{block_index + 1} maps {width} to {block.out_width} channels with stride "
                    f"{block.stride}: its shortcut needs a projection"
                )
            width = block.out_width
        for stage_index, stage in enumerate(self.stages):
            wanted = [1 if stage_index == 0 else 2] + [1] * (len(stage.blocks) - 1)
            if [block.stride for block in stage.blocks] != wanted:
                raise InputError(f"stage {stage_index + 1}: only the first block of stages 2 to 4 has stride 2")

    def to_json(self) -> dict[str, Any]:
        stages = [{"blocks": [drop_usual(block, asdict(block)) for block in stage.blocks]} for stage in self.stages]
        return {**super().to_json(), "stages": stages}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ResNetSpec:
        stages = tuple(
            StageSpec(tuple(BlockSpec(**{**block, "widths": tuple(block["widths"])}) for block in stage["blocks"]))
            for stage in value["stages"]
        )
        return cls(**{**value, "stages": stages})

    def stem_map(self, input_size: tuple[int, int]) -> FeatureMap:
        return FeatureMap.of_canvas(input_size).halve().halve().widen(self.stem_width)

    def count_stem(self, input_size: tuple[int, int]) -> Cost:
        width, cells = self.stem_width, FeatureMap.of_canvas(input_size).halve().cells
        pool = Cost(flops_mmdet=width * cells)
        return count_conv(3, width, 7, cells) + count_norm(width, cells) + count_relu(width, cells) + pool

    def take_form(self: R, form: Form) -> R:
        stages = tuple(
            StageSpec(tuple(replace(block, early_stride=form.early_stride) for block in stage.blocks))
            for stage in self.stages
        )
        return replace(self, stages=stages)

    @property
    def sliceable(self) -> bool:
        """Grouped convolutions are not sliced."""
        return not any(block.group_width for _, _, block in self.blocks())

    def stretch(self, depths: tuple[int, ...], factors: tuple[float, ...]) -> ResNetSpec:
        """Every stage starts with a projection, because a super-network's does; the stem keeps its width."""
        stages = []
        for index, (stage, depth, factor) in enumerate(zip(self.stages, depths, factors)):
            widths = tuple(round(width * factor) for width in stage.blocks[0].widths)
            first = replace(stage.blocks[0], widths=widths, stride=1 if index == 0 else 2, projection=True)
            stages.append(StageSpec((first, *[first.grow()] * (depth - 1))))
        return replace(self, stages=tuple(stages))

    def name_block(self, position: Position) -> str:
        stage, block = position
        return f"layer{stage + 1}.{block}"

    def name_norm(self, group: str) -> str:
        """Of an inner convolution its own; of a stream that of the projection it starts at."""
        kind, place = group.split(":")
        stage, block, *conv = (int(number) for number in place.split("."))
        norm = "downsample.1" if kind == "stream" else f"bn{conv[0] + 1}"
        return f"{self.name_block((stage, block))}.{norm}"

    def channel_groups(self) -> tuple[ChannelGroup, ...]:
        """Groups of three kinds, named ``"inner:<stage>.<block>.<conv>"`` and ``"stream:<stage>.<block>"``.

        An inner convolution of a block; both inner convolutions of a grouped bottleneck, in whole groups; the residual
        stream that starts at a projection and passes through the last convolution of every block up to the next.

        A stage's output width is decided by the projection of its first block (Joint-DetNAS, A.3), so the stream that
        comes from the stem without one (stage 1 of ResNet-18) is not prunable. Streams of a ResNeXt are left whole, as
        in the paper's searched ResNeXt.
        """
        groups: list[ChannelGroup] = []
        stream: list[Site] = []
        for stage_index, block_index, block in self.blocks():
            place = f"{stage_index}.{block_index}"
            if block.projection:
                groups += self._group_stream(stream)
                stream = []
            stream.append((stage_index, block_index, len(block.widths) - 1))
            inner = range(len(block.widths) - 1)
            if block.group_width:
                names = tuple(f"inner:{place}.{conv}" for conv in inner)
                sites = tuple((stage_index, block_index, conv) for conv in inner)
                groups.append(ChannelGroup(names, block.widths[0], sites, block.group_width))
            else:
                groups += [
                    ChannelGroup((f"inner:{place}.{conv}",), block.widths[conv], ((stage_index, block_index, conv),))
                    for conv in inner
                ]
        return (*groups, *self._group_stream(stream))

    def _group_stream(self, sites: Sequence[Site]) -> list[ChannelGroup]:
        """The stream through these last convolutions, or nothing where it is not prunable."""
        blocks = [self.stages[stage].blocks[block] for stage, block, _ in sites]
        if not blocks or not blocks[0].projection or any(block.group_width for block in blocks):
            return []
        stage, block, _ = sites[0]
        return [ChannelGroup((f"stream:{stage}.{block}",), blocks[0].out_width, tuple(sites))]


def make_resnet(
    depths: tuple[int, ...], widths: Sequence[tuple[int, ...]], group_widths: tuple[int, ...] = (0, 0, 0, 0)
) -> ResNetSpec:
    """A ResNet as its paper's table gives it: blocks, `BlockSpec.widths` and `BlockSpec.group_width` of each stage."""
    return ResNetSpec(
        lay_out_stages(
            [[stage_widths] * depth for stage_widths, depth in zip(widths, depths)],
            [[group_width] * depth for group_width, depth in zip(group_widths, depths)],
        )
    )


def lay_out_stages(
    widths: Sequence[Sequence[tuple[int, ...]]], group_widths: Sequence[Sequence[int]]
) -> tuple[StageSpec[BlockSpec], ...]:
    """Stages of these block widths after the standard stem, with strides and projections only where they are needed.

    The first block of every stage but the first has stride 2; a shortcut is projected where the stride is 2 or the
    width changes.
    """
    stages = []
    in_width = STEM_WIDTH
    for stage, (stage_widths, stage_group_widths) in enumerate(zip(widths, group_widths)):
        blocks = []
        for block, (block_widths, group_width) in enumerate(zip(stage_widths, stage_group_widths)):
            stride = 2 if stage > 0 and block == 0 else 1
            projection = stride == 2 or block_widths[-1] != in_width
            blocks.append(BlockSpec(block_widths, stride, group_width, projection))
            in_width = block_widths[-1]
        stages.append(StageSpec(tuple(blocks)))
    return tuple(stages)
