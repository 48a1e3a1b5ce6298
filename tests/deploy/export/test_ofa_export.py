"""Once-for-all's ResNets as graphs: average pools at borders that their cells do not fill, under each head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from narrow import narrow_path

from deploy.builders.compatibility import VERSIONS, check_model, fits_release
from deploy.export import check_parity, export_onnx
from optimizer.arch.bodies.ofa_resnet import OfaShape
from optimizer.arch.heads import HEADS
from optimizer.detectors import Detector, build_detector

SIZE = (130, 98)  # maps of 33x25, 17x13, 9x7 and 5x4 cells
BODY = OfaShape((1, 2, 1, 1), (0, 0, 0, 0), (32, 48, 64, 80), 16, 8).make((0,) * 4, (0.35,) * 5, (1.0,) * 4)


@pytest.mark.parametrize("head", sorted(HEADS))
def test_a_subnet_fits_every_release_and_detects_as_exported_what_it_detects_in_torch(
    head: str, with_scores: Callable[[Detector], Detector], tmp_path: Path
) -> None:
    arch = replace(narrow_path(SIZE, head), body=BODY)
    detector = with_scores(build_detector(arch, 3, seed=0))
    path = tmp_path / "model.onnx"
    export_onnx(detector, SIZE, path)
    model = onnx.load(path)
    for version in VERSIONS:
        findings = check_model(model, version)
        assert fits_release(findings) and {finding.severity for finding in findings} <= {"note"}
    of_body = [node.op_type for node in model.graph.node if node.name.startswith("/backbone/body/")]
    assert {*of_body} == {"Conv", "Relu", "Add", "MaxPool", "AveragePool"} and of_body.count("AveragePool") == 3
    # faint, as scores that reach 1 are ties
    canvas = 0.3 * np.random.default_rng(5).standard_normal((1, 3, SIZE[1], SIZE[0]), np.float32)
    parity = check_parity(detector, path, [canvas])
    assert parity.detections > 20 and parity.box_px < 1e-2 and parity.score < 1e-4
