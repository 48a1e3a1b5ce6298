"""Small detectors of every kind, with weights that look trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from optimizer.arch import (
    ArchSpec,
    BlockSpec,
    CenterNetHead,
    DeconvSpec,
    Edit,
    FasterRCNNHead,
    FpnSpec,
    ResNetSpec,
    RetinaNetHead,
    StageSpec,
)
from optimizer.detectors import build_detector
from optimizer.detectors.base import Detector

Widths = tuple[int, ...]
NUM_CLASSES = 3


def lay_out(widths: tuple[Widths, ...], depths: Widths, group_widths: Widths, stem_width: int) -> ArchSpec:
    stages, in_width = [], stem_width
    for stage, (block_widths, depth, group_width) in enumerate(zip(widths, depths, group_widths)):
        stride = 1 if stage == 0 else 2
        head = BlockSpec(block_widths, stride, group_width, projection=stride == 2 or block_widths[-1] != in_width)
        stages.append(StageSpec((head,) + (BlockSpec(block_widths, group_width=group_width),) * (depth - 1)))
        in_width = block_widths[-1]
    head = FasterRCNNHead(rpn_width=16, box_width=32, region_proposals=20, anchor_scale=4)
    return ArchSpec((96, 64), ResNetSpec(tuple(stages), stem_width), FpnSpec(16), head)


BOTTLENECK = lay_out(((8, 8, 32), (12, 12, 48), (16, 16, 64), (24, 24, 96)), (2, 2, 3, 2), (0,) * 4, 16)
ARCHS = {
    "basic": lay_out(((16, 16), (24, 24), (32, 32), (48, 48)), (2, 2, 2, 2), (0,) * 4, 16),
    "bottleneck": BOTTLENECK,
    "resnext": lay_out(((16, 16, 32), (24, 24, 48), (32, 32, 64), (64, 64, 96)), (2, 2, 3, 2), (4, 4, 8, 16), 16),
    "retinanet": replace(BOTTLENECK, head=RetinaNetHead(tower_depth=1, anchor_scale=4)),
    "centernet": replace(BOTTLENECK, neck=DeconvSpec(16, 20, 24), head=CenterNetHead(16)),
}


@pytest.fixture(params=ARCHS)
def arch(request: pytest.FixtureRequest) -> ArchSpec:
    """Each kind of detector in turn."""
    return ARCHS[request.param]


@pytest.fixture(scope="session")
def archs() -> dict[str, ArchSpec]:
    return ARCHS


@pytest.fixture(scope="session")
def draw_weights() -> Callable[[ArchSpec, int], dict[str, Tensor]]:
    """A function of (arch, seed): random weights, BatchNorm scales of both signs and statistics included."""

    def draw(arch: ArchSpec, seed: int) -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            weights = build_detector(arch, NUM_CLASSES).state_dict()
            for name, tensor in weights.items():
                if name.endswith("running_var"):
                    tensor.uniform_(0.5, 1.5)
                elif name.endswith("running_mean"):
                    tensor.normal_(0, 0.1)
                elif name.endswith("num_batches_tracked"):
                    tensor.fill_(seed + 7)
                elif f"{name.rpartition('.')[0]}.running_var" in weights:
                    tensor.uniform_(0.5, 1.5).mul_(torch.randint(0, 2, tensor.shape) * 2 - 1)
        return weights

    return draw


@pytest.fixture(scope="session")
def load() -> Callable[[dict[str, Tensor], ArchSpec], Detector]:
    """A function of (weights, arch): the detector with exactly these weights, in evaluation mode."""

    def load_strictly(weights: dict[str, Tensor], arch: ArchSpec) -> Detector:
        detector = build_detector(arch, NUM_CLASSES)
        detector.load_state_dict(weights, strict=True)
        return detector.eval()

    return load_strictly


@pytest.fixture(scope="session")
def edit_widths() -> Callable[..., Edit]:
    """A function of (arch, new width by (stage, block, convolution)): the edit to these widths."""

    def edit(arch: ArchSpec, widths: dict[tuple[int, int, int], int]) -> Edit:
        stages: list[list[BlockSpec]] = [[], [], [], []]
        for stage, index, block in arch.body.blocks():
            new = tuple(widths.get((stage, index, conv), width) for conv, width in enumerate(block.widths))
            stages[stage].append(replace(block, widths=new))
        body = replace(arch.body, stages=tuple(StageSpec(tuple(blocks)) for blocks in stages))
        child = replace(arch, body=body)
        return Edit(arch, child, tuple(tuple((s, b) for b in range(depth)) for s, depth in enumerate(arch.body.depths)))

    return edit


@pytest.fixture(scope="session")
def images() -> Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
