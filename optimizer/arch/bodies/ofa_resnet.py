"""`OfaResNetSpec`: once-for-all's ResNet, and `OfaShape`, the widths and depths its bodies may have (FACTS 4.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from optimizer.arch.bodies.base import StageSpec
from optimizer.arch.bodies.resnet import BlockSpec, ResNetSpec
from optimizer.arch.cost import Cost, count_conv, count_norm, count_relu
from optimizer.arch.maps import FeatureMap
from optimizer.errors import InputError

__all__ = ["DEPTHS", "EXPANDS", "WIDTHS", "OfaResNetSpec", "OfaShape", "read_ofa", "round_width", "write_runs"]

DEPTHS = (0, 1, 2)  # blocks added to a stage: D
EXPANDS = (0.2, 0.25, 0.35)  # inner width of a block as a share of its output width: E
WIDTHS = (0.65, 0.8, 1.0)  # output width of a stage as a share of its full one: W
FULL_STEM = (1.0, 1.0, 2)
STAGES = 4


def round_width(width: float) -> int:
    """The nearest multiple of 8, and never less than nine tenths of what was asked for."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8


@dataclass(frozen=True)
class OfaResNetSpec(ResNetSpec):
    """A stem of 3x3 convolutions, a max-pool and four stages of residual blocks, strides 4, 8, 16 and 32.

    A shortcut with a stride averages the cells before its 1x1 convolution, so that none is left out (ResNet-D).

    Attributes:
        stem_inner: channels of the stem before its last convolution.
        stem_residual: whether a 3x3 convolution with an identity shortcut is between the stem's first and last.
    """

    kind = "ofa_resnet"
    stem_inner: int = 32
    stem_residual: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stem_inner < 1:
            raise InputError(f"the stem's inner width is positive, not {self.stem_inner}")

    def count_stem(self, input_size: tuple[int, int]) -> Cost:
        inner, width, cells = self.stem_inner, self.stem_width, FeatureMap.of_canvas(input_size).halve().cells
        cost = Cost(flops_mmdet=width * cells)  # the max-pool
        for reads, writes in ((3, inner), *[(inner, inner)] * self.stem_residual, (inner, width)):
            cost += count_conv(reads, writes, 3, cells) + count_norm(writes, cells) + count_relu(writes, cells)
        return cost

    def count(self, input_size: tuple[int, int]) -> Cost:
        """Cost of stem and stages, the average pools included, each of which counts its inputs."""
        cost, current = super().count(input_size), self.stem_map(input_size)
        for _, _, block in self.blocks():
            if block.projection and block.stride == 2:
                cost += Cost(flops_mmdet=current.width * current.cells)
            current = block.put_out(current)
        return cost


@dataclass(frozen=True)
class OfaShape:
    """The full widths and the depths of one elastic ResNet, and the body of each choice from them.

    Attributes:
        base_depths: blocks of each stage that always run. growth: how many more there may be.
        out_widths: of the stages.
    """

    base_depths: tuple[int, ...] = (2, 2, 4, 2)
    growth: tuple[int, ...] = (2, 2, 2, 2)
    out_widths: tuple[int, ...] = (256, 512, 1024, 2048)
    stem_width: int = 64
    stem_inner: int = 32

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """(stage, block) of every block there may be, from 0, in the order data flows."""
        most = (base + growth for base, growth in zip(self.base_depths, self.growth))
        return tuple((stage, block) for stage, depth in enumerate(most) for block in range(depth))

    def runs(self, place: tuple[int, int], depths: Sequence[int]) -> bool:
        """Whether a block is among the first `base_depths` + `depths` of its stage."""
        stage, block = place
        return block < self.base_depths[stage] + depths[stage]

    def out_width(self, stage: int, width: float) -> int:
        """Output channels of a stage at a share of its full width."""
        return round_width(self.out_widths[stage] * width)

    def inner_width(self, stage: int, width: float, expand: float) -> int:
        """Inner channels of a block in a stage at a share of its full width."""
        return round_width(round(self.out_width(stage, width) * expand))

    def make(
        self,
        depths: Sequence[int],
        expands: Sequence[float],
        widths: Sequence[float],
        stem: tuple[float, float, int] = FULL_STEM,
    ) -> OfaResNetSpec:
        """The body of D and W for each stage, and E for each of `places` (of one that does not run it says nothing).

        Args:
            stem: share of its inner and of its output width; 2 is the full depth, 0 leaves out the residual 3x3.
        """
        stages: list[list[BlockSpec]] = [[] for _ in self.base_depths]
        for (stage, block), expand in zip(self.places, expands, strict=True):
            if self.runs((stage, block), depths):
                inner = self.inner_width(stage, widths[stage], expand)
                stride = 2 if stage > 0 and block == 0 else 1
                out = self.out_width(stage, widths[stage])
                stages[stage].append(BlockSpec((inner, inner, out), stride, projection=block == 0))
        return OfaResNetSpec(
            tuple(StageSpec(tuple(blocks)) for blocks in stages),
            stem_width=round_width(self.stem_width * stem[1]),
            stem_inner=round_width(self.stem_inner * stem[0]),
            stem_residual=stem[2] == 2,
        )

    def largest(self) -> OfaResNetSpec:
        return self.make(self.growth, [EXPANDS[-1]] * len(self.places), [WIDTHS[-1]] * STAGES)


def read_ofa(text: str, shape: OfaShape) -> OfaResNetSpec:
    """The body of an encoding such as "D2,1,0,2 E0.25 W1,0.8*3".

    D and W are one number, or one for each stage; E is one number, or one for each stage, for each block that runs, or
    for each there may be. "0.8*3" is 0.8 three times. S, where it is not left out, is the stem: shares of its inner and
    of its output width and its depth, 2 or 0. The smallest network is "D0 E0.2 W0.65 S0.65,0.65,0".

    Raises:
        InputError: a field is missing, or has a number that is not among its choices, or too many or too few of them.
    """
    fields = {"S": tuple(map(float, FULL_STEM)), **_split_fields(text)}
    if {*fields} != {*"DEWS"}:
        raise InputError(f"an encoding of D, E and W such as 'D2 E0.35 W1,1,0.8,0.65', and maybe S; not {text!r:.80}")
    depths = tuple(map(int, _repeat("D", fields["D"], DEPTHS, STAGES)))
    widths = _repeat("W", fields["W"], WIDTHS, STAGES)
    running = [shape.runs(place, depths) for place in shape.places]
    expands = fields["E"]
    if len(expands) == STAGES:
        expands = tuple(expands[stage] for stage, _ in shape.places)
    elif len(expands) == sum(running):
        left = iter(expands)
        expands = tuple(next(left) if runs else EXPANDS[0] for runs in running)
    expands = _repeat("E", expands, EXPANDS, len(running), f"1, {STAGES}, {sum(running)} or {len(running)}")
    stem = fields["S"]
    if len(stem) != len(FULL_STEM) or not {*stem[:2]} <= {*WIDTHS} or stem[2] not in (0, 2):
        raise InputError(f"S is two shares from {', '.join(map(str, WIDTHS))} and a depth of 0 or 2, such as S0.8,1,2")
    return shape.make(depths, expands, widths, (stem[0], stem[1], int(stem[2])))


def write_runs(values: Sequence[float]) -> str:
    """Numbers as `read_ofa` reads them: "2" where all are alike, else "1,0.8*3"."""
    runs = [(value, len([*same])) for value, same in groupby(values)]
    if len(runs) == 1:
        return f"{values[0]:g}"
    return ",".join(f"{value:g}*{length}" if length > 1 else f"{value:g}" for value, length in runs)


def _split_fields(text: str) -> dict[str, tuple[float, ...]]:
    """The numbers behind each letter; a field that is there twice, or no field, is in none."""
    fields: dict[str, tuple[float, ...]] = {}
    for word in text.split():
        numbers: list[float] = []
        for item in word[1:].split(","):
            found = re.fullmatch(r"(\d*\.?\d+)(?:\*(\d{1,2}))?", item)
            if not found:
                raise InputError(f"{word[:40]!r} is no letter with numbers such as W1,0.8*3")
            numbers += [float(found[1])] * int(found[2] or 1)
        if word[0] in fields:
            raise InputError(f"{word[0]} is there twice in {text!r:.80}")
        fields[word[0]] = tuple(numbers)
    return fields


def _repeat(
    name: str, values: tuple[float, ...], choices: Sequence[float], count: int, counts: str = f"1 or {STAGES}"
) -> tuple[float, ...]:
    """So many numbers, which are the choices' own."""
    if len(values) not in (1, count):
        raise InputError(f"{name} has {counts} numbers, not {len(values)}")
    if not {*values} <= {*choices}:
        raise InputError(f"{name} is chosen from {', '.join(map(str, choices))}, not {', '.join(map(str, values))}")
    return values * count if len(values) == 1 else values
