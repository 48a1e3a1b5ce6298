"""`ShuffleNetSpec`: DetNAS' space, ShuffleNetV2 with a choice of four blocks in every place (FACTS 3.1, 3.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optimizer.arch.bodies.base import Block, Body, Layer, Position, StageSpec
from optimizer.arch.channels import ChannelGroup
from optimizer.arch.cost import Cost, count_conv, count_norm, count_relu
from optimizer.arch.maps import FeatureMap
from optimizer.arch.parts import IllegalAction
from optimizer.errors import InputError

__all__ = ["CHOICES", "SHUFFLES", "XCEPTION", "ShuffleBlock", "ShuffleNetSpec", "make_shufflenet", "read_choices"]

KERNELS = (3, 5, 7)  # of the shuffle blocks, by their number
XCEPTION = 3  # the number of the block with three depthwise 3x3 convolutions
CHOICES = (0, 1, 2, XCEPTION)
SHUFFLES = ("split", "halves")
XCEPTION_FROM_SHUFFLE = {"branch.conv2": "branch.conv1", "branch.conv3": "branch.conv2", "branch.conv6": "branch.conv3"}
SHUFFLE_FROM_XCEPTION = {shuffle: xception for xception, shuffle in XCEPTION_FROM_SHUFFLE.items()}


@dataclass(frozen=True)
class ShuffleBlock(Block):
    """One place: a branch of convolutions beside channels that pass by (stride 1), or a projection of all (stride 2).

    With stride 1 half of the channels pass by, and the branch reads and puts out the other half. With stride 2 branch
    and projection both read all of them; the projection keeps their number, the branch puts out the rest.

    Attributes:
        widths: the block's output width alone; all others follow from it.
        choice: 0, 1 and 2 are shuffle blocks with a depthwise 3x3, 5x5 and 7x7; 3 is an xception block.
    """

    choice: int = 0

    def __post_init__(self) -> None:
        if len(self.widths) != 1 or self.widths[0] < 2 or self.widths[0] % 2:
            raise InputError(f"a shuffle block has one even output width, not {self.widths}")
        if self.stride not in (1, 2) or self.choice not in CHOICES:
            raise InputError(f"a shuffle block has stride 1 or 2 and a choice from 0 to 3, not {self}")

    @property
    def kernel(self) -> int:
        """Of its depthwise convolutions."""
        return 3 if self.choice == XCEPTION else KERNELS[self.choice]

    @property
    def starts_stream(self) -> bool:
        return self.stride == 2

    def list_layers(self, in_width: int) -> list[Layer]:
        """The branch, then the projection where there is one."""
        passing = in_width if self.stride == 2 else in_width // 2
        reads = in_width if self.stride == 2 else in_width - passing
        middle, out = self.out_width // 2, self.out_width - passing
        if self.choice == XCEPTION:
            shapes = [(reads, 0), (reads, middle), (middle, 0), (middle, middle), (middle, 0), (middle, out)]
        else:
            shapes = [(reads, middle), (middle, 0), (middle, out)]
        layers = [self._make_layer("branch", index, *shape) for index, shape in enumerate(shapes)]
        if self.stride == 2:
            layers += [self._make_layer("projection", index, in_width, out) for index, out in enumerate((0, in_width))]
        return layers

    def choose(self, choice: int) -> ShuffleBlock:
        if choice == self.choice:
            raise IllegalAction(f"block {choice} is in this place already")
        return replace(self, choice=choice)

    def name_origin(self, layer: Layer, source: Block) -> str | None:
        """Between the two shapes of branch: the first and the last pointwise convolution, and the depthwise between."""
        assert isinstance(source, ShuffleBlock)
        if layer.conv.startswith("projection") or (self.choice == XCEPTION) == (source.choice == XCEPTION):
            return layer.conv
        return (XCEPTION_FROM_SHUFFLE if self.choice == XCEPTION else SHUFFLE_FROM_XCEPTION).get(layer.conv)

    def _make_layer(self, path: str, index: int, width: int, out: int) -> Layer:
        """A pointwise convolution to `out` channels, or a depthwise one where that is 0."""
        shape = (out, width, 1, 1) if out else (width, 1, self.kernel, self.kernel)
        return Layer(f"{path}.conv{index + 1}", f"{path}.norm{index + 1}", shape, 0, None, group_width=0 if out else 1)

    def count(self, incoming: FeatureMap) -> Cost:
        """The stride is that of each path's first depthwise convolution; a ReLU follows each pointwise one."""
        outgoing, cost = self.put_out(incoming), Cost()
        place = incoming
        for layer in self.list_layers(incoming.width):
            if layer.conv.endswith("conv1"):
                place = incoming
            out, _, kernel, _ = layer.shape
            if layer.group_width:
                place = outgoing
                cost += count_conv(out, out, kernel, place.cells, groups=out)
            else:
                cost += count_conv(layer.shape[1], out, 1, place.cells) + count_relu(out, place.cells)
            cost += count_norm(out, place.cells)
        return cost


@dataclass(frozen=True)
class ShuffleNetSpec(Body[ShuffleBlock]):
    """A 3x3 stem of stride 2 and four stages, each of which begins with stride 2: strides 4, 8, 16 and 32.

    Attributes:
        shuffle: how a block parts its channels. "split": every other one passes by (the released networks'). "halves":
            channels are dealt out by turns from both halves, and the first half of that passes by (the supernet's).
            Weights of one are of no use to the other.
    """

    kind = "shufflenet"
    stem_width: int = 16
    shuffle: str = "split"

    def __post_init__(self) -> None:
        if len(self.stages) != 4 or self.stem_width < 1 or self.shuffle not in SHUFFLES:
            raise InputError(
                f"a ShuffleNet has four stages, a positive stem width and a shuffle of {' or '.join(SHUFFLES)}, not "
                f"{len(self.stages)}, {self.stem_width} and {self.shuffle!r}"
            )
        width = self.stem_width
        for stage, index, block in self.blocks():
            if block.stride != (2 if index == 0 else 1):
                raise InputError(f"stage {stage + 1}: the first block, and no other, has stride 2")
            if (block.out_width <= width) if index == 0 else (block.out_width != width):
                raise InputError(
                    f"block {stage + 1}.{index + 1} maps {width} to {block.out_width} channels; the first of a stage "
                    "widens, the others keep the width"
                )
            width = block.out_width

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ShuffleNetSpec:
        stages = tuple(
            StageSpec(tuple(ShuffleBlock(**{**block, "widths": tuple(block["widths"])}) for block in stage["blocks"]))
            for stage in value["stages"]
        )
        return cls(**{**value, "stages": stages})

    @property
    def choices(self) -> tuple[int, ...]:
        """The block in each place, in the order data flows."""
        return tuple(block.choice for _, _, block in self.blocks())

    def stem_map(self, input_size: tuple[int, int]) -> FeatureMap:
        return FeatureMap.of_canvas(input_size).halve().widen(self.stem_width)

    def count_stem(self, input_size: tuple[int, int]) -> Cost:
        width, cells = self.stem_width, self.stem_map(input_size).cells
        return count_conv(3, width, 3, cells, bias=True) + count_norm(width, cells) + count_relu(width, cells)

    def channel_groups(self) -> tuple[ChannelGroup, ...]:
        """None: half of a block's channels are other blocks' too."""
        return ()

    def name_block(self, position: Position) -> str:
        return f"stage{position[0] + 1}.{position[1]}"

    def name_norm(self, group: str) -> str:
        raise AssertionError(f"a ShuffleNet has no group of channels {group!r}")

    def encode(self) -> str:
        """The papers' encoding: the choice in each place, stage by stage."""
        return " ".join("".join(str(block.choice) for block in stage.blocks) for stage in self.stages)


def make_shufflenet(
    choices: Sequence[int], depths: tuple[int, ...], widths: tuple[int, ...], stem_width: int, shuffle: str = "split"
) -> ShuffleNetSpec:
    """A path of a space, from the choice in each place.

    Raises:
        InputError: there are more or fewer choices than places, or one is not from 0 to 3.
    """
    if len(choices) != sum(depths):
        raise InputError(f"a path through {sum(depths)} places has as many choices, not {len(choices)}")
    stages, left = [], list(choices)
    for depth, width in zip(depths, widths, strict=True):
        blocks = tuple(ShuffleBlock((width,), 2 if index == 0 else 1, left.pop(0)) for index in range(depth))
        stages.append(StageSpec(blocks))
    return ShuffleNetSpec(tuple(stages), stem_width, shuffle)


def read_choices(text: str) -> tuple[int, ...]:
    """The choices of an encoding such as "2120 2112 33130031 3132"; commas, bars and blanks only part them.

    Raises:
        InputError: something else than digits from 0 to 3 is in it.
    """
    digits = re.sub(r"[\s,|\[\]-]", "", text)
    if not re.fullmatch(r"[0-3]+", digits):
        raise InputError(f"an encoding of blocks has a digit from 0 to 3 for each place, not {text.strip()[:60]!r}")
    return tuple(map(int, digits))
