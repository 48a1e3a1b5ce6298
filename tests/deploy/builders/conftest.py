"""Small graphs by hand, and small detectors as they are exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

Signature = dict[str, tuple[int, Sequence[int | str] | None]]
MakeModel = Callable[..., onnx.ModelProto]


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """A model of nodes, inputs and outputs (name: element type and shape) and constants, in an opset."""

    def make(
        nodes: Sequence[onnx.NodeProto],
        inputs: Signature,
        outputs: Signature,
        constants: dict[str, np.ndarray] | None = None,
        opset: int = 17,
        functions: Sequence[onnx.FunctionProto] = (),
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info(name, *signature) for name, signature in inputs.items()],
            [helper.make_tensor_value_info(name, *signature) for name, signature in outputs.items()],
            [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
        )
        domains = {node.domain for node in nodes if node.domain}
        opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in sorted(domains))]
        return helper.make_model(graph, opset_imports=opsets, functions=functions)

    return make


@pytest.fixture(scope="session", params=["faster_rcnn", "faster_rcnn-grid", "retinanet", "centernet"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small detector of each kind, as it is exported; one with regions also without RoiAlign."""
    from narrow import put_head

    from deploy.export import export_onnx
    from optimizer.arch import BlockSpec, ResNetSpec, StageSpec
    from optimizer.detectors import build_detector

    stages = tuple(StageSpec((BlockSpec((8, 8), 1 if index == 0 else 2, projection=index > 0),)) for index in range(4))
    kind, _, roi_align = request.param.partition("-")
    arch = put_head(kind, ResNetSpec(stages, stem_width=8), (130, 98))
    path = tmp_path_factory.mktemp("exported") / f"{request.param}.onnx"
    export_onnx(build_detector(arch, num_classes=4, seed=0), arch.input_size, path, roi_align=roi_align or "op")
    return path
