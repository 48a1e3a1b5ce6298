"""Graphs for Turing GPUs, for which TensorRT for RTX multiplies no matrices in FP32: convolutions and sums instead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Sequence

import numpy as np

from deploy.errors import InputError

if TYPE_CHECKING:
    import onnx

__all__ = ["TURING", "rewrite_products", "write_for_turing"]

TURING = "7.5"


def write_for_turing(model: Path, out: Path) -> int:
    """Write a model with its FP32 products of matrices rewritten; how many there were.

    Raises:
        InputError: the `onnx` package is missing, or the file is no ONNX model.
    """
    from deploy.builders.compatibility import read_model

    rewritten, count = rewrite_products(read_model(model))
    out.write_bytes(rewritten.SerializeToString())
    return count


def rewrite_products(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """A copy that computes the same without a Gemm or MatMul in FP32, and how many were replaced.

    A product with constant weights becomes a convolution of 1x1 pixels, every other one a multiplication and a sum.
    Weights that are dequantised stay so.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = onnx.shape_inference.infer_shapes(copy).graph
    known = (*graph.input, *graph.value_info, *graph.output)
    types = {entry.name: entry.type.tensor_type.elem_type for entry in known}
    shapes = {entry.name: [side.dim_value for side in entry.type.tensor_type.shape.dim] for entry in known}
    constants = {entry.name: onnx.numpy_helper.to_array(entry) for entry in copy.graph.initializer}
    dequantisers = {node.output[0]: node for node in copy.graph.node if node.op_type == "DequantizeLinear"}
    nodes: list[onnx.NodeProto] = []
    added: list[onnx.TensorProto] = []
    count = 0
    for node in copy.graph.node:
        if node.op_type not in ("Gemm", "MatMul") or types.get(node.output[0]) != onnx.TensorProto.FLOAT:
            nodes.append(node)
            continue
        prefix = f"{node.output[0]}_turing{count}"
        count += 1
        dequantiser = dequantisers.get(node.input[1])
        weights = constants.get(node.input[1] if dequantiser is None else dequantiser.input[0])
        if weights is not None and weights.ndim == 2:
            made, values = _as_convolution(node, weights, dequantiser, shapes[node.output[0]], prefix)
        elif node.op_type == "MatMul":
            made, values = _as_sum(node, prefix)
        else:
            raise InputError(f"{node.op_type} {node.name} in FP32 cannot be rewritten for Turing; export in fp16")
        nodes.extend(made)
        added.extend(onnx.numpy_helper.from_array(value, name) for name, value in values.items())
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    copy.graph.initializer.extend(added)
    return copy, count


def _as_convolution(
    node: onnx.NodeProto, weights: np.ndarray, dequantiser: onnx.NodeProto | None, shape: Sequence[int], prefix: str
) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """x [.., C] times W as a convolution of rows of one pixel; quantised weights stay so."""
    from onnx import helper

    settings = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    if settings.get("transA", 0) or settings.get("alpha", 1.0) != 1.0 or settings.get("beta", 1.0) != 1.0:
        raise InputError(f"{node.op_type} {node.name} scales or transposes what it reads: not rewritten for Turing")
    matrix = weights if settings.get("transB", 0) else weights.T  # [out, in]
    kernel = np.ascontiguousarray(matrix)[:, :, None, None]
    rows, weighted, result = f"{prefix}_rows", f"{prefix}_kernel", f"{prefix}_conv"
    values = {f"{prefix}_pixels": np.array([-1, kernel.shape[1], 1, 1]), f"{prefix}_shape": np.array(shape)}
    nodes = [helper.make_node("Reshape", [node.input[0], f"{prefix}_pixels"], [rows], rows)]
    if dequantiser is None:
        values[weighted] = kernel
    else:
        values[f"{prefix}_quantised"] = kernel
        inputs = [f"{prefix}_quantised", *dequantiser.input[1:]]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [weighted], weighted, axis=0))
    nodes.append(helper.make_node("Conv", [rows, weighted, *node.input[2:3]], [result], result))
    nodes.append(helper.make_node("Reshape", [result, f"{prefix}_shape"], list(node.output), node.name))
    return nodes, values


def _as_sum(node: onnx.NodeProto, prefix: str) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """a [.., m, k] times b [.., k, n] as a sum over k of a [.., m, k, 1] times b [.., 1, k, n]."""
    from onnx import helper

    values = {f"{prefix}_last": np.array([-1]), f"{prefix}_third": np.array([-3]), f"{prefix}_axis": np.array([-2])}
    return [
        helper.make_node("Unsqueeze", [node.input[0], f"{prefix}_last"], [f"{prefix}_a"], f"{prefix}_a"),
        helper.make_node("Unsqueeze", [node.input[1], f"{prefix}_third"], [f"{prefix}_b"], f"{prefix}_b"),
        helper.make_node("Mul", [f"{prefix}_a", f"{prefix}_b"], [f"{prefix}_products"], f"{prefix}_products"),
        helper.make_node(
            "ReduceSum", [f"{prefix}_products", f"{prefix}_axis"], list(node.output), node.name, keepdims=0
        ),
    ], values  # fmt: skip
