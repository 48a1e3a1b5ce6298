"""ShuffleNets as graphs: their four blocks under each head, with both ways to part channels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from narrow import narrow_path

from deploy.builders.compatibility import VERSIONS, check_model, fits_release
from deploy.export import check_parity, export_onnx
from optimizer.detectors import Detector, build_detector

SIZE = (130, 98)
PARTING = {"split": {"Slice": 2}, "halves": {"Slice": 2, "Reshape": 2, "Transpose": 1}}  # of a block of stride 1
INNER = 4


@pytest.mark.parametrize(
    ("head", "shuffle", "roi_align"),
    [
        ("faster_rcnn", "split", "op"),
        ("faster_rcnn", "halves", "grid"),
        ("faster_rcnn conv4fc1", "split", "op"),
        ("retinanet", "split", "op"),
        ("retinanet", "halves", "op"),
    ],
)
def test_a_path_fits_every_release_and_detects_as_exported_what_it_detects_in_torch(
    head: str, shuffle: str, roi_align: str, with_scores: Callable[[Detector], Detector], tmp_path: Path
) -> None:
    detector = with_scores(build_detector(narrow_path(SIZE, head, shuffle), 3, seed=0))
    path = tmp_path / "model.onnx"
    export_onnx(detector, SIZE, path, roi_align=roi_align)
    model = onnx.load(path)
    for version in VERSIONS:
        findings = check_model(model, version)
        assert fits_release(findings) and {finding.severity for finding in findings} <= {"note"}
    of_body = [node.op_type for node in model.graph.node if node.name.startswith("/backbone/body/")]
    parting = {name: of_body.count(name) for name in {*of_body} - {"Conv", "Relu", "Concat"}}
    assert parting == {name: count * INNER for name, count in PARTING[shuffle].items()}
    assert of_body.count("Concat") == 2 * INNER, "one for each block"
    canvas = np.random.default_rng(5).standard_normal((1, 3, SIZE[1], SIZE[0]), np.float32)
    parity = check_parity(detector, path, [canvas])
    assert parity.detections > 20 and parity.box_px < 1e-2 and parity.score < 1e-4


@pytest.mark.parametrize("shuffle", PARTING)
def test_no_shape_within_the_body_is_left_open(shuffle: str, tmp_path: Path) -> None:
    detector = build_detector(narrow_path(SIZE, "retinanet", shuffle), 3, seed=0)
    export_onnx(detector, SIZE, tmp_path / "model.onnx")
    model = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "model.onnx"), strict_mode=True, data_prop=True)
    known = {value.name: value.type.tensor_type.shape.dim for value in model.graph.value_info}
    outputs = [node.output[0] for node in model.graph.node if node.name.startswith("/backbone/body/")]
    assert outputs and all(dim.dim_value > 0 for name in outputs for dim in known[name])
