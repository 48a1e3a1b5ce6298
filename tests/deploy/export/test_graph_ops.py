"""The graph's own operators against torchvision's functions: in eager PyTorch, and as ONNX Runtime executes them."""

from __future__ import annotations

import io
import math
import warnings
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign, batched_nms, nms

from deploy.errors import ExportError
from deploy.export import NMS, ROI_ALIGN
from deploy.export.graph_ops import OnnxGraphOps
from deploy.export.roi_align import lay_atlas, level_of

OPS = OnnxGraphOps()
Runner = Callable[..., list[Tensor]]


class Wrapped(nn.Module):
    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> object:
        return self.function(*inputs)


def outputs_of(function: Callable[..., object], inputs: tuple[Tensor, ...]) -> list[Tensor]:
    found = function(*inputs)
    return [found] if isinstance(found, Tensor) else list(found)  # type: ignore[call-overload]


def run_as_onnx(
    function: Callable[..., object], inputs: tuple[Tensor, ...], traced_on: tuple[Tensor, ...]
) -> list[Tensor]:
    """Exports with one set of values and runs with another, so that nothing of the trace may be baked in."""
    names, model = [f"input{index}" for index in range(len(inputs))], io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Wrapped(function), traced_on, model, dynamo=False, opset_version=17, input_names=names, verbose=False
        )
    session = onnxruntime.InferenceSession(model.getvalue(), providers=["CPUExecutionProvider"])
    wanted = {entry.name for entry in session.get_inputs()}
    feeds = {name: value.numpy() for name, value in zip(names, inputs) if name in wanted}
    return [torch.from_numpy(np.array(value)) for value in session.run(None, feeds)]


def random_boxes(count: int, width: int, height: int, seed: int = 0) -> Tensor:
    """Clusters of overlapping boxes inside a canvas."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(count, 2, generator=generator)[
        torch.randint(0, max(count // 4, 1), (count,), generator=generator)
    ]
    sides = torch.exp(torch.rand(count, 2, generator=generator) * 4 - 4)
    jitter = torch.randn(count, 2, generator=generator) * 0.02
    low, high = centres + jitter - sides / 2, centres + jitter + sides / 2
    scale = torch.tensor([width, height], dtype=torch.float32)
    return torch.cat([low.clamp(0, 1) * scale, high.clamp(0, 1) * scale], 1)


def random_scores(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# --- topk ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length, count", [(1, 1), (5, 9), (40, 7)])
def test_topk_gives_the_largest_in_order_and_all_of_a_short_list(length: int, count: int) -> None:
    scores = random_scores(length)
    values, indices = OPS.topk(scores, count)
    expected = scores.sort(descending=True)
    assert torch.equal(values, expected.values[:count]) and torch.equal(indices, expected.indices[:count])
    exported = run_as_onnx(lambda s: OPS.topk(s, count), (scores,), (scores.flip(0),))
    assert torch.equal(exported[0], values) and torch.equal(exported[1], indices)


def test_topk_refuses_a_count_tensorrt_cannot_take() -> None:
    with pytest.raises(ExportError, match="at most 3840"):
        OPS.topk(torch.zeros(5000), 4000)


# --- nms -----------------------------------------------------------------------------------------------------------


def expected_nms(boxes: Tensor, scores: Tensor, iou_threshold: float, keep: int) -> tuple[Tensor, Tensor]:
    valid = (scores >= 0).nonzero()[:, 0]
    best = valid[nms(boxes[valid], scores[valid], iou_threshold)][:keep]
    return boxes[best], scores[best]


@pytest.mark.parametrize("count, keep", [(1, 1), (1, 6), (60, 200), (400, 50), (1000, 1000)])
@pytest.mark.parametrize("iou_threshold", [0.5, 0.7])
def test_nms_keeps_what_torchvision_keeps(count: int, keep: int, iou_threshold: float) -> None:
    boxes, scores = random_boxes(count, 320, 240), random_scores(count)
    scores[1::5] = -1.0

    def suppress(b: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        return OPS.nms(b, s, iou_threshold, keep)

    expected_boxes, expected_scores = expected_nms(boxes, scores, iou_threshold, keep)
    found = len(expected_scores)
    traced_on = (random_boxes(count, 320, 240, seed=7), random_scores(count, seed=8))
    for kept_boxes, kept_scores in (suppress(boxes, scores), run_as_onnx(suppress, (boxes, scores), traced_on)):
        assert kept_boxes.shape == (keep, 4) and kept_scores.shape == (keep,)
        assert torch.equal(kept_boxes[:found], expected_boxes)
        assert torch.equal(kept_scores[:found], expected_scores)
        assert (kept_scores[found:] == -1).all()


def test_nms_of_nothing_valid_is_all_padding() -> None:
    boxes, scores = random_boxes(9, 100, 100), torch.full((9,), -1.0)
    suppress = lambda b, s: OPS.nms(b, s, 0.7, 4)  # noqa: E731
    for _, kept in (suppress(boxes, scores), run_as_onnx(suppress, (boxes, scores), (boxes, random_scores(9)))):
        assert kept.tolist() == [-1.0] * 4


def test_nms_with_equal_scores_keeps_the_first_as_torchvision_does_and_a_score_of_zero_counts() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [90, 90, 90, 90]])
    scores = torch.tensor([0.5, 0.5, 0.0, 0.5])
    suppress = lambda b, s: OPS.nms(b, s, 0.5, 4)  # noqa: E731
    for kept_boxes, kept in (suppress(boxes, scores), run_as_onnx(suppress, (boxes, scores), (boxes, scores.flip(0)))):
        assert kept.tolist() == [0.5, 0.5, 0.0, -1.0]
        assert kept_boxes[:3].tolist() == boxes[[0, 3, 2]].tolist()


# --- class_nms -----------------------------------------------------------------------------------------------------


def expected_class_nms(
    boxes: Tensor, scores: Tensor, score_threshold: float, iou_threshold: float, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    boxes = boxes.expand(-1, scores.shape[1], 4)
    row, label = (scores > score_threshold).nonzero(as_tuple=True)
    kept = batched_nms(boxes[row, label], scores[row, label], label, iou_threshold)[:most]
    return boxes[row, label][kept], scores[row, label][kept], label[kept]


@pytest.mark.parametrize("own_boxes", [True, False])
@pytest.mark.parametrize("rows, classes, most", [(1, 1, 100), (3, 1, 2), (1, 5, 100), (80, 4, 30), (80, 4, 400)])
def test_class_nms_keeps_what_torchvision_keeps(own_boxes: bool, rows: int, classes: int, most: int) -> None:
    def inputs(seed: int) -> tuple[Tensor, Tensor]:
        boxes = random_boxes(rows * (classes if own_boxes else 1), 320, 240, seed)
        return boxes.reshape(rows, -1, 4), random_scores(rows, classes, seed=seed + 1)

    def suppress(b: Tensor, s: Tensor) -> tuple[Tensor, ...]:
        return OPS.class_nms(b, s, 0.3, 0.5, most)

    boxes, scores = inputs(3)
    expected = expected_class_nms(boxes, scores, 0.3, 0.5, most)
    found = len(expected[1])
    for kept_boxes, kept_scores, labels, count in (
        suppress(boxes, scores),
        run_as_onnx(suppress, (boxes, scores), inputs(11)),
    ):
        assert kept_boxes.shape == (most, 4) and kept_scores.shape == labels.shape == (most,)
        assert count.tolist() == [found] and count.dtype == labels.dtype == torch.int64
        for kept, wanted in zip((kept_boxes, kept_scores, labels), expected):
            assert torch.equal(kept[:found], wanted)
            assert not kept[found:].any()


def test_class_nms_wants_a_score_above_the_threshold_and_may_find_nothing() -> None:
    boxes, scores = random_boxes(6, 100, 100).reshape(6, 1, 4), torch.full((6, 2), 0.25)
    suppress = lambda b, s: OPS.class_nms(b, s, 0.25, 0.5, 3)  # noqa: E731
    for outputs in (suppress(boxes, scores), run_as_onnx(suppress, (boxes, scores), (boxes, random_scores(6, 2)))):
        assert [value.count_nonzero().item() for value in outputs] == [0, 0, 0, 0]


# --- roi_align -----------------------------------------------------------------------------------------------------


def pyramid(width: int, height: int, channels: int = 3) -> list[Tensor]:
    """P2 to P5 of a canvas, as strided convolutions with padding leave them: sizes rounded up."""
    generator = torch.Generator().manual_seed(width * 10_000 + height)
    sizes = [(math.ceil(height / stride), math.ceil(width / stride)) for stride in (4, 8, 16, 32)]
    return [torch.randn(1, channels, h, w, generator=generator) for h, w in sizes]


def border_boxes(width: int, height: int) -> Tensor:
    """Boxes of every size on every border and corner, slivers and degenerate ones among them."""
    boxes = []
    for side in (0.0, 1e-3, 0.7, 3.0, 4.0, 20.0, 111.9999, 112.0, 150.0, 224.0, 300.0, 448.0, 600.0):
        for other in (side, 1.3, 0.0, 1e4):
            w, h = min(side, float(width)), min(other, float(height))
            for x in (0.0, (width - w) / 2, width - w):
                boxes += [[x, y, x + w, y + h] for y in (0.0, (height - h) / 2, height - h)]
    boxes += [[width, height, width, height], [width - 0.5, 3, width, 200.0], [2, height - 0.3, 150, height]]
    limit = torch.tensor([width, height] * 2, dtype=torch.float32)
    return torch.minimum(torch.tensor(boxes), limit)


def expected_features(maps: list[Tensor], rois: Tensor, width: int, height: int) -> Tensor:
    pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    return pool(OrderedDict(zip("0123", maps)), [rois], [(height, width)])


@pytest.mark.parametrize("variant", sorted(ROI_ALIGN))
@pytest.mark.parametrize(
    "width, height", [(64, 64), (320, 320), (333, 200), (200, 333), (65, 700), (641, 75), (1333, 800)]
)
def test_roi_align_on_the_atlas_equals_torchvision_on_the_pyramid(variant: str, width: int, height: int) -> None:
    maps = [level.double() for level in pyramid(width, height)]
    rois = torch.cat([border_boxes(width, height), random_boxes(200, width, height)]).double()
    expected = expected_features(maps, rois, width, height)
    torch.testing.assert_close(OnnxGraphOps(variant).roi_align(maps, rois), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("variant, rounding", [("op", 1e-5), ("grid", 1e-4)])
def test_roi_align_in_single_precision_is_off_by_rounding_alone(variant: str, rounding: float) -> None:
    maps = [nn.functional.avg_pool2d(level, 5, 1, 2) for level in pyramid(333, 200)]
    rois = torch.cat([border_boxes(333, 200), random_boxes(200, 333, 200)])
    found = OnnxGraphOps(variant).roi_align(maps, rois)
    torch.testing.assert_close(found, expected_features(maps, rois, 333, 200), rtol=0, atol=rounding)


def test_by_samples_a_canvas_may_be_of_any_size() -> None:
    """Where boxes on P3 to P5 are thinner than a cell, which begins at 1,568 pixels a side."""
    maps = [level.double() for level in pyramid(2600, 1700, channels=1)]
    rois = border_boxes(2600, 1700).double()
    thin = torch.tensor([[2599.9, 0.0, 2600.0, 1700.0], [0.0, 1699.9, 2600.0, 1700.0]]).double()
    rois = torch.cat([rois, thin])
    expected = expected_features(maps, rois, 2600, 1700)
    torch.testing.assert_close(OnnxGraphOps("grid").roi_align(maps, rois), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("variant, rounding", [("op", 1e-5), ("grid", 1e-4)])
@pytest.mark.parametrize("width, height", [(333, 200), (96, 320)])
def test_exported_roi_align_equals_torchvision(variant: str, rounding: float, width: int, height: int) -> None:
    maps = [nn.functional.avg_pool2d(level, 5, 1, 2) for level in pyramid(width, height)]
    rois = border_boxes(width, height)
    pool = lambda *inputs: OnnxGraphOps(variant).roi_align(list(inputs[:4]), inputs[4])  # noqa: E731
    traced_on = (*(level.roll(1, 3) for level in maps), random_boxes(len(rois), width, height))
    exported = run_as_onnx(pool, (*maps, rois), traced_on)
    torch.testing.assert_close(exported[0], expected_features(maps, rois, width, height), rtol=0, atol=rounding)


def test_levels_follow_torchvisions_rule_at_and_round_the_thresholds() -> None:
    from torchvision.ops.poolers import initLevelMapper

    side = torch.cat(
        [torch.tensor([0.0, 1.0, 5000.0])] + [s + torch.arange(-40, 41) * s * 1e-6 for s in (112, 224, 448)]
    )
    rois = torch.stack([torch.zeros_like(side), torch.zeros_like(side), side, side], 1)
    expected = initLevelMapper(2, 5)([rois])
    agree = level_of(rois) == expected
    assert agree.float().mean() > 0.97, "only boxes within float rounding of a threshold may differ"
    assert agree[:3].all() and (level_of(rois)[side == 224] == 2).all()


def test_the_atlas_ends_where_p2_ends_and_wastes_little() -> None:
    maps = pyramid(320, 320)
    atlas, starts = lay_atlas(maps)
    x, y = starts[0]
    assert torch.equal(atlas[:, :, y:, x:], maps[0])
    assert atlas[0, 0].numel() < 1.25 * sum(level[0, 0].numel() for level in maps)
    for level, (x, y) in zip(maps, starts):
        height, width = level.shape[2:]
        assert torch.equal(atlas[:, :, y : y + height, x : x + width], level)


def test_the_catalogue_of_nms_variants_holds_the_padded_operator() -> None:
    assert NMS["op"] is OnnxGraphOps
