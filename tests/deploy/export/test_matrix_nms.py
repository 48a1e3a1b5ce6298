"""NMS by rounds against torchvision's greedy NMS, alone and in the graphs of both detectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms

from deploy.builders.compatibility import VERSIONS, check_model, fits_release
from deploy.engines import open_engine
from deploy.export import NMS, MatrixGraphOps, OnnxGraphOps, check_parity, export_onnx
from deploy.targets.spec import NMS_VARIANTS
from optimizer.detectors import Detector

SIZE = (170, 130)


def make_boxes(count: int, seed: int) -> Tensor:
    """Overlapping boxes about few centres."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(max(count // 8, 1), 2, generator=generator) * 300
    centres = centres[torch.randint(0, len(centres), (count,), generator=generator)]
    middle = centres + torch.randn(count, 2, generator=generator) * 6
    sides = torch.rand(count, 2, generator=generator) * 40 + 15
    return torch.cat([middle - sides / 2, middle + sides / 2], 1)


def make_chain(length: int) -> tuple[Tensor, Tensor]:
    """Boxes of falling scores, each overlapping only its neighbours: greedy NMS keeps every other one."""
    left = torch.arange(length, dtype=torch.float32) * 4
    return torch.stack([left, left * 0, left + 10, left * 0 + 10], 1), torch.linspace(1, 0.5, length)


def assert_greedy(boxes: Tensor, scores: Tensor, iou_threshold: float, keep: int) -> None:
    ops = MatrixGraphOps()
    found_boxes, found_scores = ops.nms(boxes, scores, iou_threshold, keep)
    valid = (scores >= 0).nonzero()[:, 0]
    best = valid[nms(boxes[valid], scores[valid], iou_threshold)][:keep]
    assert found_boxes.shape == (keep, 4) and found_scores.shape == (keep,)
    assert torch.equal(found_scores[: len(best)], scores[best]) and (found_scores[len(best) :] == -1).all()
    assert torch.equal(found_boxes[: len(best)], boxes[best])
    assert ops.count_unsettled().tolist() == [0]


@pytest.mark.parametrize("iou_threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("count, keep", [(1, 1), (1, 5), (60, 200), (400, 50), (1000, 1000)])
def test_rounds_keep_what_greedy_nms_keeps(count: int, keep: int, iou_threshold: float) -> None:
    for seed in range(3):
        scores = torch.rand(count, generator=torch.Generator().manual_seed(seed))
        assert_greedy(make_boxes(count, seed), scores, iou_threshold, keep)


def test_padding_among_the_candidates_is_never_kept_and_suppresses_nothing() -> None:
    scores = torch.rand(200, generator=torch.Generator().manual_seed(5))
    scores[::3] = -1
    assert_greedy(make_boxes(200, 5), scores, 0.5, 200)


@pytest.mark.parametrize("value", [-1.0, 0.0, 0.5])
def test_equal_scores_go_by_place_and_a_set_of_padding_is_empty(value: float) -> None:
    assert_greedy(make_boxes(120, 6), torch.full((120,), value), 0.5, 120)


def test_boxes_that_are_equal_or_without_an_area() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]] * 4 + [[5.0, 5, 5, 5]] * 3)
    assert_greedy(boxes, torch.tensor([0.5, 0.5, 0.9, 0.1, 0.3, 0.3, 0.2]), 0.5, 7)


@pytest.mark.parametrize("length, unsettled", [(9, 0), (10, 0), (12, 1), (40, 1)])
def test_a_chain_longer_than_the_rounds_is_counted(length: int, unsettled: int) -> None:
    boxes, scores = make_chain(length)
    ops = MatrixGraphOps(rounds=9)
    _, found = ops.nms(boxes, scores, 0.4, length)
    assert ops.count_unsettled().tolist() == [unsettled]
    ops.nms(boxes, scores, 0.4, length)
    assert ops.count_unsettled().tolist() == [2 * unsettled], "each set is counted"
    ops.reset()
    assert ops.count_unsettled().tolist() == [0]
    if not unsettled:
        assert torch.equal(found[found >= 0], scores[::2])


def class_case(seed: int, own_boxes: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    rows, classes = 150, 3
    boxes = torch.stack([make_boxes(rows, seed + label) for label in range(classes if own_boxes else 1)], 1)
    scores = torch.rand(rows, classes, generator=torch.Generator().manual_seed(seed))
    row, label = (scores > 0.05).nonzero().unbind(1)
    return boxes, scores, boxes.expand(rows, classes, 4)[row, label], scores[row, label], label


@pytest.mark.parametrize("own_boxes", [True, False])
@pytest.mark.parametrize("most", [5, 100, 600])
def test_class_nms_keeps_what_torchvision_keeps(own_boxes: bool, most: int) -> None:
    boxes, scores, flat_boxes, flat_scores, labels = class_case(3, own_boxes)
    ops = MatrixGraphOps()
    found_boxes, found_scores, found_labels, count = ops.class_nms(boxes, scores, 0.05, 0.5, most)
    best = batched_nms(flat_boxes, flat_scores, labels, 0.5)[:most]
    found = int(count)
    assert found == len(best) and ops.count_unsettled().tolist() == [0]
    assert torch.equal(found_boxes[:found], flat_boxes[best]) and torch.equal(found_scores[:found], flat_scores[best])
    assert torch.equal(found_labels[:found], labels[best])
    assert not found_boxes[found:].any() and not found_scores[found:].any() and not found_labels[found:].any()


def test_candidates_cut_off_are_counted_only_where_they_might_have_been_kept() -> None:
    boxes, scores, flat_boxes, flat_scores, labels = class_case(4, True)
    few = MatrixGraphOps(candidates=60)
    found_boxes, *_ = few.class_nms(boxes, scores, 0.05, 0.5, 10)
    best = batched_nms(flat_boxes, flat_scores, labels, 0.5)[:10]
    assert torch.equal(found_boxes, flat_boxes[best]) and few.count_unsettled().tolist() == [0]
    few.reset()
    few.class_nms(boxes, scores, 0.05, 0.5, 100)
    assert few.count_unsettled().tolist() == [1]
    few.reset()
    few.class_nms(boxes, scores, 2.0, 0.5, 100)
    assert few.count_unsettled().tolist() == [0], "none above the threshold"


@pytest.mark.parametrize("length, count", [(40_000, 1000), (57_600, 1000), (32_771, 1000), (80_000, 2000), (90, 7)])
def test_the_largest_of_a_long_list_are_found_by_parts(length: int, count: int) -> None:
    scores = torch.randperm(length, generator=torch.Generator().manual_seed(1)).float()
    expected = scores.topk(count)
    values, indices = MatrixGraphOps().topk(scores, count)
    assert torch.equal(values, expected.values) and torch.equal(indices, expected.indices)


@pytest.mark.parametrize("kinds, classes, cells, count", [(9, 80, 12, 100), (3, 5, 50, 40), (2, 3, 4, 500)])
def test_the_best_pairs_are_of_the_anchors_with_the_best_class(
    kinds: int, classes: int, cells: int, count: int
) -> None:
    scores = torch.randn(kinds, classes, cells, generator=torch.Generator().manual_seed(2))
    expected = OnnxGraphOps().best_pairs(scores, count)
    assert all(torch.equal(one, other) for one, other in zip(expected, MatrixGraphOps().best_pairs(scores, count)))
    best, number, label = expected
    assert torch.equal(scores[number % kinds, label, number // kinds], best) and len(best) == min(count, scores.numel())


def test_levels_of_any_length_share_their_rounds() -> None:
    ops, levels = MatrixGraphOps(), [(make_boxes(count, count), torch.rand(count)) for count in (90, 40, 1)]
    levels = [(boxes, scores.sort(descending=True).values) for boxes, scores in levels]
    levels[0][1][10:20] = -1
    _, found = ops.nms_of_levels([level[0] for level in levels], [level[1] for level in levels], 0.5, 90)
    expected = [OnnxGraphOps().nms(boxes, scores, 0.5, len(scores))[1] for boxes, scores in levels]
    kept = torch.cat([scores[scores >= 0] for scores in expected])
    assert torch.equal(found[found >= 0], kept) and ops.count_unsettled().tolist() == [0]


@pytest.mark.parametrize("make", [OnnxGraphOps, MatrixGraphOps])
def test_boxes_of_one_label_each_go_as_in_a_table_of_all_labels(make: type[OnnxGraphOps]) -> None:
    boxes, scores = make_boxes(200, 8), torch.rand(200, generator=torch.Generator().manual_seed(8))
    labels = torch.randint(3, (200,), generator=torch.Generator().manual_seed(9))
    table = scores[:, None] * (labels[:, None] == torch.arange(3))
    expected = MatrixGraphOps().class_nms(boxes[:, None], table, 0.05, 0.5, 50)
    found = make().label_nms(boxes, scores, labels, 3, 0.05, 0.5, 50)
    assert all(torch.equal(one, other) for one, other in zip(expected, found)) and int(found[3]) > 5


def test_a_target_can_name_every_variant() -> None:
    assert sorted(NMS_VARIANTS) == sorted(NMS)


def count_unsettled(path: Path, canvases: list[np.ndarray]) -> int:
    """Sets of a graph, on real proposals, that may differ from greedy NMS's."""
    with open_engine(path) as engine:
        answers = [engine.infer({"images": canvas}) for canvas in canvases]
    return sum(int(answer["unsettled"][0]) for answer in answers if "unsettled" in answer)


@pytest.fixture(scope="module", params=["faster_rcnn", "retinanet", "centernet"])
def by_rounds(
    request: pytest.FixtureRequest, make_detector: Callable[[str], Detector], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Detector, Path]:
    detector, path = make_detector(request.param), tmp_path_factory.mktemp("matrix") / "model.onnx"
    export_onnx(detector, SIZE, path, nms="matrix")
    return detector, path


def test_the_graph_detects_what_the_detector_detects(
    by_rounds: tuple[Detector, Path], canvases: list[np.ndarray]
) -> None:
    detector, path = by_rounds
    parity = check_parity(detector, path, canvases)
    assert parity.images == 5 and parity.detections > 100
    assert parity.box_px < 1e-2 and parity.score < 1e-4
    blank = [np.zeros_like(canvases[0])]  # thousands of equal cells: chains longer than those of any picture
    assert count_unsettled(path, canvases) == 0
    assert parity.unsettled == count_unsettled(path, blank), "counted in the report, not hidden"


def test_both_variants_give_the_same_rows(by_rounds: tuple[Detector, Path], canvases: list[np.ndarray]) -> None:
    detector, _ = by_rounds
    for canvas in canvases:
        with torch.no_grad():
            expected = detector.raw(torch.from_numpy(canvas), OnnxGraphOps(), 100)
            found = detector.raw(torch.from_numpy(canvas), MatrixGraphOps(), 100)
        for one, other in zip(expected, found):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("version", VERSIONS)
def test_no_release_refuses_it_and_no_size_varies(by_rounds: tuple[Detector, Path], version: str) -> None:
    findings = check_model(by_rounds[1], version)
    assert fits_release(findings), [finding for finding in findings if finding.severity in ("refused", "dynamic")]
    assert not [finding for finding in findings if finding.severity == "unknown"]


def test_it_holds_no_nms_and_only_sizes_known_beforehand(by_rounds: tuple[Detector, Path]) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load(by_rounds[1]), data_prop=True)
    assert not {node.op_type for node in model.graph.node} & {"NonMaxSuppression", "If", "Loop", "Scan", "NonZero"}
    sets = ["unsettled"] if by_rounds[0].arch.head.kind != "centernet" else []  # which selects by peaks alone
    assert [output.name for output in model.graph.output] == ["boxes", "scores", "labels", "count", *sets]
    for value in model.graph.value_info:
        assert all(side.HasField("dim_value") for side in value.type.tensor_type.shape.dim), value.name
