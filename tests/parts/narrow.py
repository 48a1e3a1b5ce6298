"""A detector that is all there and narrow, for tests where only the width of a real one costs time."""

from __future__ import annotations

from optimizer.arch import ArchSpec, BlockSpec, FasterRCNNHead, FpnSpec, ResNetSpec, StageSpec


def narrow_arch(
    size: tuple[int, int], region_proposals: int = 40, width: int = 8, neck: int = 16, rpn: int = 16, box_head: int = 32
) -> ArchSpec:
    """A Faster R-CNN with a block a stage, of `width` channels, for a canvas (width, height)."""
    blocks = [BlockSpec((width, width), 1 if stage == 0 else 2, projection=stage > 0) for stage in range(4)]
    body = ResNetSpec(tuple(StageSpec((block,)) for block in blocks), stem_width=width)
    return ArchSpec(size, body, FpnSpec(neck), FasterRCNNHead(rpn, box_head, region_proposals))
