"""A detector that is all there and narrow, for tests where only the width of a real one costs time."""

from __future__ import annotations

from optimizer.arch import ArchSpec, BlockSpec, FasterRCNNHead, FpnSpec, ResNetSpec, StageSpec


def narrow_arch(size: tuple[int, int], region_proposals: int = 40) -> ArchSpec:
    """A Faster R-CNN with a block a stage, of 8 channels, for a canvas (width, height)."""
    stages = tuple(StageSpec((BlockSpec((8, 8), 1 if index == 0 else 2, projection=index > 0),)) for index in range(4))
    return ArchSpec(size, ResNetSpec(stages, stem_width=8), FpnSpec(16), FasterRCNNHead(16, 32, region_proposals))
