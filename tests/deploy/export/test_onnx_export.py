"""Whole detectors as graphs: what the file holds, and that it detects what the detector detects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from deploy.engines import open_engine
from deploy.errors import ExportError
from deploy.export import NMS, ROI_ALIGN, OnnxGraphOps, check_graph, check_parity, export_onnx
from deploy.targets.spec import ROI_ALIGN_VARIANTS
from optimizer.arch.families import base_arch
from optimizer.detectors import Detector, build_detector

SIZE = (170, 130)
FORBIDDEN = {"If", "Loop", "NonZero", "Scan", "BatchNormalization"}


def operators_of(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


def test_the_whole_r18_detects_as_exported_what_it_detects_in_torch(tmp_path: Path) -> None:
    detector = build_detector(base_arch("r18", (128, 96), region_proposals=40), num_classes=3, seed=0)
    report = export_onnx(detector, (128, 96), tmp_path / "r18.onnx")
    canvas = np.random.default_rng(5).standard_normal((1, 3, 96, 128), np.float32)
    parity = check_parity(detector, tmp_path / "r18.onnx", [canvas])
    assert parity.images == 3 and parity.detections > 100
    assert parity.box_px < 1e-3 and parity.score < 1e-4
    assert report.nodes < 427, "the prototype's count"
    assert report.operators["Conv"] == 43 and report.operators["RoiAlign"] == 1, "BatchNorm folded, one RoIAlign"


def test_raw_in_eager_mode_equals_detect(exported: tuple[Detector, Path], canvases: list[np.ndarray]) -> None:
    detector, _ = exported
    for canvas in canvases:
        (expected,) = detector.detect(torch.from_numpy(canvas))
        with torch.no_grad():
            boxes, scores, labels, count = detector.raw(torch.from_numpy(canvas), OnnxGraphOps(), 100)
        found = int(count)
        assert found == len(expected.scores) > 20
        torch.testing.assert_close(boxes[:found], expected.boxes_xyxy, rtol=0, atol=1e-3)
        torch.testing.assert_close(scores[:found], expected.scores, rtol=0, atol=1e-5)
        assert torch.equal(labels[:found], expected.labels)


def test_the_exported_graph_detects_what_the_detector_detects(
    exported: tuple[Detector, Path], canvases: list[np.ndarray]
) -> None:
    parity = check_parity(*exported, canvases)
    assert parity.images == 5 and parity.detections > 100
    assert parity.box_px < 1e-2 and parity.score < 1e-4


def test_the_graph_holds_nothing_an_engine_refuses(exported: tuple[Detector, Path]) -> None:
    _, path = exported
    model = onnx.load(path)
    assert not operators_of(path) & FORBIDDEN
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    sizes = {
        entry.name: [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
        for entry in (*model.graph.input, *model.graph.output)
    }
    assert sizes == {
        "images": [1, 3, 130, 170], "boxes": [100, 4], "scores": [100], "labels": [100], "count": [1]
    }  # fmt: skip


def test_rows_beyond_the_count_are_zeros_and_a_blank_image_may_have_none(
    make_detector: Callable[[str], Detector], tmp_path: Path
) -> None:
    detector = make_detector("faster_rcnn")
    with torch.no_grad():
        detector.roi_heads.box_predictor.cls_score.bias[0] += 20.0
    export_onnx(detector, SIZE, tmp_path / "shy.onnx", max_detections=7)
    with open_engine(tmp_path / "shy.onnx") as engine:
        outputs = engine.infer({"images": np.zeros((1, 3, 130, 170), np.float32)})
    assert outputs["boxes"].shape == (7, 4)
    assert [int(np.count_nonzero(values)) for values in outputs.values()] == [0, 0, 0, 0]
    assert check_parity(detector, tmp_path / "shy.onnx", []).detections == 0


def test_equal_weights_give_equal_bytes_and_other_weights_others(
    exported: tuple[Detector, Path], tmp_path: Path
) -> None:
    detector, path = exported
    again = export_onnx(detector, SIZE, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()
    assert again.bytes == path.stat().st_size
    other = build_detector(detector.arch, 4, seed=1)
    assert export_onnx(other, SIZE, tmp_path / "other.onnx").sha256 != again.sha256


def test_the_file_says_nothing_of_the_machine_it_was_made_on(exported: tuple[Detector, Path]) -> None:
    content = exported[1].read_bytes()
    for trace in (str(Path.cwd()), str(Path(torch.__file__).parent), "site-packages", ".py"):
        assert trace.encode() not in content


def test_exporting_leaves_the_detector_as_it_was(make_detector: Callable[[str], Detector], tmp_path: Path) -> None:
    detector = make_detector("retinanet")
    detector.train()
    detector.backbone.body.bn1.eval()
    weights = {name: value.clone() for name, value in detector.state_dict().items()}
    export_onnx(detector, SIZE, tmp_path / "model.onnx")
    assert detector.training and detector.head.training and not detector.backbone.body.bn1.training
    assert all(torch.equal(value, weights[name]) for name, value in detector.state_dict().items())


class Unfixed(nn.Module):
    """A detector that routes by data, as torchvision's does."""

    def raw(self, images: Tensor, ops: object, max_detections: int) -> tuple[Tensor, ...]:
        rows = (images[0, 0, 0] > 0).nonzero()[:, 0]
        boxes = images[0, :, 0, :4].mean(0).expand(max_detections, 4) * rows.sum()
        return boxes, boxes[:, 0], rows.sum().expand(max_detections), rows.sum()[None]


def test_an_operator_not_every_engine_takes_is_named_and_no_file_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the good one")
    with pytest.raises(ExportError, match="NonZero"):
        export_onnx(Unfixed(), (64, 64), path)
    assert path.read_bytes() == b"the good one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]


def test_an_unknown_nms_variant_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no NMS variant is called 'fast'; there are: matrix, op"):
        export_onnx(Unfixed(), (64, 64), tmp_path / "model.onnx", nms="fast")


def test_an_unknown_roi_align_variant_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no RoIAlign variant is called 'fast'; there are: grid, op"):
        export_onnx(Unfixed(), (64, 64), tmp_path / "model.onnx", roi_align="fast")
    assert sorted(ROI_ALIGN_VARIANTS) == sorted(ROI_ALIGN)


@pytest.mark.parametrize("nms", sorted(NMS))
def test_a_graph_that_samples_needs_no_roi_align_and_is_its_source(
    make_detector: Callable[[str], Detector], nms: str, tmp_path: Path
) -> None:
    detector = make_detector("faster_rcnn")
    report = export_onnx(detector, SIZE, tmp_path / "model.onnx", nms=nms, roi_align="grid")
    assert report.operators["GridSample"] == 1 and "RoiAlign" not in report.operators
    canvases = [np.random.default_rng(seed).standard_normal((1, 3, 130, 170), np.float32) for seed in (1, 2)]
    gate = check_parity(detector, report.path, canvases, head=report.head, selection=report.selection)
    assert gate.detections > 50


def test_more_than_one_image_at_once_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="4 images at once"):
        export_onnx(Unfixed(), (64, 64), tmp_path / "model.onnx", images=4)
    assert not list(tmp_path.iterdir())


def test_a_graph_whose_outputs_are_not_of_the_promised_size_is_refused(exported: tuple[Detector, Path]) -> None:
    with pytest.raises(ExportError, match="fixed sizes"):
        check_graph(onnx.load(exported[1]), max_detections=50)


def test_a_topk_of_too_many_is_refused(exported: tuple[Detector, Path]) -> None:
    model = onnx.load(exported[1])
    counts = {node.input[1] for node in model.graph.node if node.op_type == "TopK"}
    for constant in model.graph.initializer:
        if constant.name in counts:
            constant.CopyFrom(onnx.numpy_helper.from_array(np.array([4000]), constant.name))
    with pytest.raises(ExportError, match="at most 3840"):
        check_graph(model, max_detections=100)
