"""What a distilled student is looked at with: distances by channel, and the gradient over an image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from optimizer.arch import ArchSpec, BlockSpec, FasterRCNNHead, FpnSpec, ResNetSpec, StageSpec
from optimizer.detectors import Detector, Truth, build_detector
from optimizer.distill.adapters import MapAdapters
from optimizer.distill.config import DefeatConfig, DistillConfig
from optimizer.distill.distances import measure_distances
from optimizer.distill.gradients import map_gradients
from optimizer.distill.step import DistillStep
from optimizer.errors import InputError

CPU = torch.device("cpu")
Batches = list[tuple[Tensor, list[Truth]]]


def make_arch(width: int = 8) -> ArchSpec:
    stages = tuple(
        StageSpec((BlockSpec((8 * 2**stage,) * 2, stride=1 if stage == 0 else 2, projection=True),))
        for stage in range(4)
    )
    return ArchSpec((96, 64), ResNetSpec(stages, stem_width=8), FpnSpec(width), FasterRCNNHead(8, 16, 20, 4))


@pytest.fixture(scope="module")
def batches() -> Batches:
    generator = torch.Generator().manual_seed(4)
    boxes = torch.tensor([[8.0, 8, 40, 40], [50, 10, 90, 60]])
    some, none = Truth(boxes, torch.tensor([0, 2])), Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    return [(torch.randn(2, 3, 64, 96, generator=generator), truths) for truths in ([some, none], [some, some])]


def shift_neck(detector: Detector, channel: int, by: float) -> None:
    """Let one channel of the finest map be larger everywhere."""
    layer = detector.get_submodule("backbone.fpn.layer_blocks.0.0")
    with torch.no_grad():
        layer.bias[channel] += by


def test_equal_networks_are_at_no_distance_and_a_shifted_channel_is_found(
    batches: Batches,
) -> None:
    student, teacher = build_detector(make_arch(), 4, seed=1), build_detector(make_arch(), 4, seed=1)
    same = measure_distances(student, teacher, batches, CPU)
    assert same.objects == pytest.approx([0.0] * 8) and same.background == pytest.approx([0.0] * 8)
    shift_neck(student, 3, 0.5)
    apart = measure_distances(student, teacher, batches, CPU)
    expected = [0.5 if channel == 3 else 0.0 for channel in range(8)]
    assert apart.objects == pytest.approx(expected, abs=1e-5)
    assert apart.background == pytest.approx(expected, abs=1e-5)


def test_other_widths_need_adapters(batches: Batches) -> None:
    student, teacher = build_detector(make_arch(6), 4, seed=1), build_detector(make_arch(), 4, seed=2)
    with pytest.raises(InputError, match="6 channels and the teacher's 8"):
        measure_distances(student, teacher, batches, CPU)
    found = measure_distances(student, teacher, batches, CPU, MapAdapters([6] * 5, [8] * 5))
    assert len(found.objects) == len(found.background) == 8 and min(found.objects) > 0


def test_the_gradient_is_where_the_distiller_looks() -> None:
    """Of objects alone: nothing outside the one box, on the finest level, where it is drawn."""
    arch = make_arch()
    student, teacher = build_detector(arch, 4, seed=1), build_detector(arch, 4, seed=2)
    alone = DefeatConfig(alpha_object=4.0, alpha_background=0.0)
    step = DistillStep(arch, teacher, DistillConfig(weights={"defeat": 1.0}, teacher_canvas="student", defeat=alone))
    batch = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    truths = [Truth(torch.tensor([[16.0, 16, 48, 40]]), torch.tensor([0]))]
    norms: list[Tensor] = map_gradients(step, student, batch, truths)
    assert [tuple(norm.shape) for norm in norms] == [(1, 16, 24), (1, 8, 12), (1, 4, 6), (1, 2, 3), (1, 1, 2)]
    inside = torch.zeros(16, 24, dtype=torch.bool)
    inside[3:11, 3:13] = True  # the box's cells, and one more on each side that the 3x3 adapter reads
    assert norms[0][0][4:10, 4:12].min() > 0 and not norms[0][0][~inside].any()
    assert not any(norm.any() for norm in norms[1:])
    assert all(parameter.grad is None for parameter in student.parameters())
