"""Graphs without NMS within the classes: what leaves them, and that the host makes the same detections of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch

from deploy import Detector as DeployedDetector
from deploy import ModelSource, Preprocess, Selection
from deploy.builders.compatibility import VERSIONS, check_model, fits_release
from deploy.engines import open_engine
from deploy.errors import InputError, ParityError
from deploy.export import GraphReport, RawGraphOps, check_parity, export_onnx
from deploy.pipeline.decode import HEADS, count_unsettled
from optimizer.detectors import Detector

SIZE = (170, 130)


@pytest.fixture(scope="module", params=["faster_rcnn", "retinanet", "centernet"])
def raw(
    request: pytest.FixtureRequest, make_detector: Callable[[str], Detector], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Detector, GraphReport]:
    detector, path = make_detector(request.param), tmp_path_factory.mktemp("raw") / "model.onnx"
    return detector, export_onnx(detector, SIZE, path, nms="raw")


def test_the_report_says_how_it_is_read(raw: tuple[Detector, GraphReport]) -> None:
    overlap = 1.0 if raw[0].arch.head.kind == "centernet" else 0.5  # an IoU that no two boxes exceed
    assert raw[1].head == "candidates" and raw[1].selection == Selection(0.05, overlap, 100)


def test_no_nms_is_left_but_that_of_region_proposals(raw: tuple[Detector, GraphReport]) -> None:
    detector, report = raw
    assert not set(report.operators) & {"NonMaxSuppression", "If", "Loop", "Scan", "NonZero"}
    model = onnx.shape_inference.infer_shapes(onnx.load(report.path), data_prop=True)
    names = ["boxes", "scores", "labels"]
    has_proposals = detector.arch.head.kind == "faster_rcnn"
    assert [output.name for output in model.graph.output] == names + ["unsettled"] * has_proposals
    assert ("MatMul" in report.operators) == has_proposals, "rounds over a matrix of overlaps"
    for value in (*model.graph.value_info, *model.graph.output):
        assert all(side.HasField("dim_value") for side in value.type.tensor_type.shape.dim), value.name


def test_the_host_detects_what_the_detector_detects(
    raw: tuple[Detector, GraphReport], canvases: list[np.ndarray]
) -> None:
    detector, report = raw
    parity = check_parity(detector, report.path, canvases, head=report.head, selection=report.selection)
    assert parity.images == 5 and parity.detections > 100
    assert parity.box_px < 1e-2 and parity.score < 1e-4


def test_the_gate_sees_another_overlap(raw: tuple[Detector, GraphReport], canvases: list[np.ndarray]) -> None:
    detector, report = raw
    with pytest.raises(ParityError, match=r"image.*(finds|not).*label"):
        check_parity(detector, report.path, canvases, head=report.head, selection=Selection(0.05, 0.3, 100))


def test_a_graph_of_candidates_is_not_taken_for_one_that_selects(raw: tuple[Detector, GraphReport]) -> None:
    with pytest.raises(InputError, match="no output count"):
        DeployedDetector(ModelSource(raw[1].path, Preprocess(*SIZE), "detections"), 1)


def test_a_deployed_detector_selects_by_what_it_is_told(raw: tuple[Detector, GraphReport]) -> None:
    image = np.random.default_rng(3).integers(0, 256, (130, 170, 3), np.uint8)
    found = []
    for most in (100, 4):
        source = ModelSource(raw[1].path, Preprocess.imagenet(*SIZE), "candidates", Selection(0.05, 0.5, most))
        with DeployedDetector(source, 1) as detector:
            found.append(detector(image))
    assert len(found[0]) > len(found[1]) == 4
    np.testing.assert_array_equal(found[1].boxes_xyxy, found[0].boxes_xyxy[:4])


@pytest.mark.parametrize("version", VERSIONS)
def test_no_release_refuses_it_and_no_size_varies(raw: tuple[Detector, GraphReport], version: str) -> None:
    findings = check_model(raw[1].path, version)
    assert fits_release(findings), [finding for finding in findings if finding.severity in ("refused", "dynamic")]
    assert not [finding for finding in findings if finding.severity in ("unknown", "note") and finding.op != "output"]


def test_candidates_cut_off_are_counted_only_where_they_might_have_been_kept() -> None:
    boxes = torch.rand(200, 1, 4, generator=torch.Generator().manual_seed(0)) * 50
    boxes[..., 2:] += boxes[..., :2]
    scores = torch.linspace(0.9, 0.02, 200)[:, None]  # 193 are above the threshold
    for candidates, most, cut in ((150, 150, 1), (150, 5, 0), (200, 200, 0)):
        ops = RawGraphOps(candidates=candidates)
        rows, best, labels, above = ops.class_nms(boxes, scores, 0.05, 0.5, most)
        outputs = {"boxes": rows.numpy(), "scores": best.numpy(), "labels": labels.numpy()}
        found = HEADS["candidates"].decode(outputs, SIZE, ops.selection)
        assert int(above) == min(candidates, 193) and len(found) <= most
        assert count_unsettled(outputs, found, "candidates", ops.selection) == cut, (candidates, most)


def test_sets_of_region_proposals_are_counted_in_the_graph(
    raw: tuple[Detector, GraphReport], canvases: list[np.ndarray]
) -> None:
    report = raw[1]
    with open_engine(report.path) as engine:
        for canvas in canvases:
            outputs = engine.infer({"images": canvas})
            found = HEADS["candidates"].decode(outputs, SIZE, report.selection)
            assert count_unsettled(outputs, found, "candidates", report.selection) == 0
            if "unsettled" in outputs:
                outputs["unsettled"] = np.array([3])
                assert count_unsettled(outputs, found, "candidates", report.selection) == 3
