"""Prints the base64 text and the SHA-256 of the canary model that `deploy/canary.py` holds.

The canary never changes once numbers were published with it: a new one is a new protocol version.
"""

from __future__ import annotations

import base64
import hashlib
from itertools import pairwise

import onnx
from onnx import TensorProto, helper

WIDTHS = (16, 32, 32, 32, 16)
SIDE = 56
WEIGHT = 0.01


def make_canary() -> onnx.ModelProto:
    """Convolutions and ReLUs whose weights are ConstantOfShape: a few hundred bytes, the cost of a real layer."""
    nodes, sizes, last = [], [], "x"
    for index, (before, after) in enumerate(pairwise(WIDTHS)):
        sizes.append(helper.make_tensor(f"s{index}", TensorProto.INT64, [4], [after, before, 3, 3]))
        weight = helper.make_tensor("v", TensorProto.FLOAT, [1], [WEIGHT])
        nodes += [
            helper.make_node("ConstantOfShape", [f"s{index}"], [f"w{index}"], value=weight),
            helper.make_node("Conv", [last, f"w{index}"], [f"c{index}"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{index}"], [f"r{index}"]),
        ]
        last = f"r{index}"
    shape = [1, WIDTHS[0], SIDE, SIDE]
    graph = helper.make_graph(
        nodes,
        "canary",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, WIDTHS[-1], SIDE, SIDE])],
        sizes,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="detopt")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    content = make_canary().SerializeToString(deterministic=True)
    print(base64.b64encode(content).decode())
    print(hashlib.sha256(content).hexdigest())
