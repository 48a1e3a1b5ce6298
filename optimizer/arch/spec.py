"""`ArchSpec`: an immutable value that determines a detector's shape, and nothing else.

Actions map spec to spec, cost reads spec, detectors are built from spec, the store keeps its JSON. No torch here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from optimizer.errors import InputError

__all__ = ["ArchSpec", "BlockSpec", "FasterRCNNHead", "Head", "RetinaNetHead", "StageSpec"]

MIN_SIDE_PX = 64  # two cells on the stride-32 map


@dataclass(frozen=True)
class BlockSpec:
    """One residual block.

    Attributes:
        widths: output channels of each convolution in order: two numbers are a basic block (3x3, 3x3), three a
            bottleneck (1x1, 3x3, 1x1). The last is the block's output width.
        stride: of the whole block; sits on the first 3x3 convolution ("pytorch style").
        group_width: channels a group of the bottleneck's 3x3 convolution; 0 is an ordinary convolution.
        projection: whether the shortcut is a 1x1 convolution with BatchNorm; otherwise it is the identity.
    """

    widths: tuple[int, ...]
    stride: int = 1
    group_width: int = 0
    projection: bool = False

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

    @property
    def out_width(self) -> int:
        return self.widths[-1]

    @property
    def groups(self) -> int:
        """Groups of the 3x3 convolution in a bottleneck (1 without grouping)."""
        return self.widths[1] // self.group_width if self.group_width else 1


@dataclass(frozen=True)
class StageSpec:
    """Blocks of one stage, in order."""

    blocks: tuple[BlockSpec, ...]

    def __post_init__(self) -> None:
        if not self.blocks:
            raise InputError("a stage has at least one block")

    @property
    def out_width(self) -> int:
        return self.blocks[-1].out_width


@dataclass(frozen=True)
class FasterRCNNHead:
    """RPN with one 3x3 convolution of `rpn_width`, two fully connected layers of `box_width` on 7x7 RoI features."""

    rpn_width: int = 256
    box_width: int = 1024
    region_proposals: int = 1000
    kind: str = "faster_rcnn"

    def __post_init__(self) -> None:
        if min(self.rpn_width, self.box_width, self.region_proposals) < 1:
            raise InputError(f"widths and region proposals of a Faster R-CNN head are positive, not {self}")


@dataclass(frozen=True)
class RetinaNetHead:
    """Two towers of `tower_depth` 3x3 convolutions of the FPN's width, P3 to P7, nine anchors a cell."""

    tower_depth: int = 4
    kind: str = "retinanet"

    def __post_init__(self) -> None:
        if self.tower_depth not in range(5):
            raise InputError(f"a RetinaNet tower has none to four convolutions, not {self.tower_depth}")


Head = FasterRCNNHead | RetinaNetHead
HEADS: Mapping[str, type[FasterRCNNHead] | type[RetinaNetHead]] = {
    "faster_rcnn": FasterRCNNHead,
    "retinanet": RetinaNetHead,
}


@dataclass(frozen=True)
class ArchSpec:
    """A whole detector: backbone, neck, head and canvas.

    Attributes:
        stages: the four stages of the backbone, strides 4, 8, 16, 32.
        input_size: canvas (width, height) in pixels.
        head: `FasterRCNNHead` or `RetinaNetHead`.
        stem_width: output channels of the 7x7 stem.
        fpn_width: channels of every pyramid level.
        anchor_scale: anchor side divided by level stride (8 gives 32 to 512 on P2 to P6, the papers' anchors; 4 suits
            canvases whose short side is under 600).
    """

    stages: tuple[StageSpec, ...]
    input_size: tuple[int, int]
    head: Head = FasterRCNNHead()
    stem_width: int = 64
    fpn_width: int = 256
    anchor_scale: int = 8

    def __post_init__(self) -> None:
        if len(self.stages) != 4:
            raise InputError(f"a backbone has four stages, not {len(self.stages)}")
        if min(self.input_size) < MIN_SIDE_PX:
            raise InputError(
                f"input size {self.input_size[0]}x{self.input_size[1]} is too small for this network: "
                f"each side needs at least {MIN_SIDE_PX} pixels"
            )
        for value in (self.stem_width, self.fpn_width, self.anchor_scale):
            if value < 1:
                raise InputError("stem width, FPN width and anchor scale are positive")
        width = self.stem_width
        for stage_index, block_index, block in self.blocks():
            if not block.projection and (block.out_width != width or block.stride != 1):
                raise InputError(
                    f"block {stage_index + 1}.{block_index + 1} maps {width} to {block.out_width} channels with stride "
                    f"{block.stride}: its shortcut needs a projection"
                )
            width = block.out_width
        for stage_index, stage in enumerate(self.stages):
            if [block.stride for block in stage.blocks] != [1 if stage_index == 0 else 2] + [1] * (
                len(stage.blocks) - 1
            ):
                raise InputError(f"stage {stage_index + 1}: only the first block of stages 2 to 4 has stride 2")

    def blocks(self) -> Iterator[tuple[int, int, BlockSpec]]:
        """(stage index, block index, block), both from 0, in the order data flows."""
        for stage_index, stage in enumerate(self.stages):
            for block_index, block in enumerate(stage.blocks):
                yield stage_index, block_index, block

    @property
    def depths(self) -> tuple[int, ...]:
        return tuple(len(stage.blocks) for stage in self.stages)

    @property
    def arch_id(self) -> str:
        """First 12 hex digits of the SHA-256 of the canonical JSON: equal specs, equal id, in any process."""
        return hashlib.sha256(self.to_text().encode()).hexdigest()[:12]

    def with_size(self, width: int, height: int) -> ArchSpec:
        return replace(self, input_size=(width, height))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ArchSpec:
        """The inverse of `to_json`; an `InputError` names what is missing or unknown."""
        try:
            head = dict(value["head"])
            return ArchSpec(
                stages=tuple(
                    StageSpec(
                        tuple(BlockSpec(**{**block, "widths": tuple(block["widths"])}) for block in stage["blocks"])
                    )
                    for stage in value["stages"]
                ),
                input_size=(int(value["input_size"][0]), int(value["input_size"][1])),
                head=HEADS[head["kind"]](**head),
                stem_width=value["stem_width"],
                fpn_width=value["fpn_width"],
                anchor_scale=value["anchor_scale"],
            )
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise InputError(f"not an architecture: {error!r}") from error
