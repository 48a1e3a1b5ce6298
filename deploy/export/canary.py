"""Writes `deploy/canary.onnx`, the small fixed model that tells whether a device drifted while it was measured.

`python -m deploy.export.canary`; run once, the file is kept in the package.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["write_canary"]


def write_canary(path: Path) -> None:
    """Four 3x3 convolutions of 32 channels on a 64x64 map: about 150 million multiply-accumulates, one set of weights."""
    rng = np.random.default_rng(0)
    first = numpy_helper.from_array((rng.standard_normal((32, 3, 3, 3)) * 0.2).astype(np.float32), "first")
    again = numpy_helper.from_array((rng.standard_normal((32, 32, 3, 3)) * 0.06).astype(np.float32), "again")
    nodes = [helper.make_node("Conv", ["x", "first"], ["y0"], pads=[1, 1, 1, 1], strides=[2, 2])]
    for index in range(4):
        nodes.append(helper.make_node("Conv", [f"y{index}", "again"], [f"z{index}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"z{index}"], [f"y{index + 1}"]))
    graph = helper.make_graph(
        nodes,
        "canary",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 128, 128))],
        [helper.make_tensor_value_info("y4", TensorProto.FLOAT, (1, 32, 64, 64))],
        [first, again],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="detopt")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


if __name__ == "__main__":
    write_canary(Path(__file__).resolve().parent.parent / "canary.onnx")
