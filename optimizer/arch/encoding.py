"""The text encoding of the Joint-DetNAS paper (supplement, section B): the widths of every convolution of a backbone.

``[(64, 64)-(64, 64)], [(128, 128)-...], [...], [...]``: a parenthesised group is a block, "-" joins blocks, a bracket
pair is a stage. Strides, shortcuts, neck, head and canvas are not written: they follow from the family's rules.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from optimizer.arch.bodies.resnet import ResNetSpec, lay_out_stages
from optimizer.arch.heads import FasterRCNNHead
from optimizer.arch.necks import FpnSpec
from optimizer.arch.spec import ArchSpec
from optimizer.errors import InputError

__all__ = ["arch_from_encoding", "encoding_from_arch"]

BLOCK = re.compile(r"\(\s*(\d+(?:\s*,\s*\d+)*)\s*\)")
SEPARATORS = re.compile(r"[\s\],-]*")

Widths = tuple[int, ...]


def arch_from_encoding(text: str, input_size: tuple[int, int], group_widths: tuple[int, ...] | None = None) -> ArchSpec:
    """The Faster R-CNN, with the papers' neck and head, whose backbone the text encodes.

    Stages are cut at "[" and "]" is ignored, because the brackets that close or open the first stage are lost in the
    published encodings.

    Args:
        input_size: canvas (width, height) in pixels.
        group_widths: of a ResNeXt, channels per group by original stage; a block that was moved to a neighbouring stage
            is known by its output width, which pruning leaves whole. None is a ResNet.

    Raises:
        InputError: the text is not an encoding, or its widths do not fit the group widths.
    """
    stages = [_parse_stage(piece) for piece in text.split("[") if piece.strip()]
    if len(stages) != 4:
        raise InputError(
            f"an encoding has four stages, each opened by '[', but {len(stages)} were found in {_cite(text)}"
        )
    groups = [[0] * len(stage) for stage in stages] if group_widths is None else _assign_groups(stages, group_widths)
    body = ResNetSpec(lay_out_stages(stages, groups))
    return ArchSpec(input_size, body, FpnSpec(), FasterRCNNHead.for_canvas(input_size))


def encoding_from_arch(arch: ArchSpec) -> str:
    """The papers' text for a backbone; group widths, shortcuts, neck, head and canvas are not part of it."""
    return arch.body.encode()


def _parse_stage(piece: str) -> list[Widths]:
    rest = BLOCK.sub("", piece)
    if not SEPARATORS.fullmatch(rest):
        raise InputError(f"{_cite(rest)} has no place in an encoding such as '[(64, 64)-(64, 64)], [(128, 128)], ...'")
    blocks = [tuple(int(number) for number in found.split(",")) for found in BLOCK.findall(piece)]
    if not blocks:
        raise InputError(f"a stage of the encoding has no block: {_cite(piece)}")
    return blocks


def _assign_groups(stages: Sequence[Sequence[Widths]], group_widths: tuple[int, ...]) -> list[list[int]]:
    """Group width of every block by the stage it was born in, told by its output width."""
    if len(group_widths) != 4 or min(group_widths) < 1:
        raise InputError(f"group widths are four positive numbers, one for each stage, not {group_widths}")
    out_widths = list(dict.fromkeys(block[-1] for stage in stages for block in stage))
    if len(out_widths) != 4:
        raise InputError(
            f"with group widths an encoding has one output width for each of four original stages, not {out_widths}"
        )
    return [[group_widths[out_widths.index(block[-1])] for block in stage] for stage in stages]


def _cite(text: str) -> str:
    short = text.strip()
    return repr(short if len(short) <= 60 else short[:57] + "...")
