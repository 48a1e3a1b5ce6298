"""Graphs of a node or a few, each of which breaks a rule of TensorRT's, or does not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper

F32, F16, F64, BF16 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16
I8, U8, I32, I64, BOOL = TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL
MakeModel = Callable[..., onnx.ModelProto]
node = helper.make_node
FROM_10 = ("10.3", "10.16", "11.4")


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def one_node(op: str, type_in: int = F32, type_out: int | None = None, **attributes: object) -> Callable[..., object]:
    """A model of one node that keeps the shape (2, 3)."""

    def make(make_model: MakeModel, opset: int = 17) -> onnx.ModelProto:
        shape, out = [2, 3], type_in if type_out is None else type_out
        return make_model([node(op, ["x"], ["y"], "n", **attributes)], {"x": (type_in, shape)}, {"y": (out, shape)},
                          opset=opset)  # fmt: skip

    return make


def two_inputs(op: str, element_type: int, type_out: int) -> Callable[..., object]:
    return lambda make_model: make_model(
        [node(op, ["a", "b"], ["y"], "n")], {"a": (element_type, [4]), "b": (element_type, [4])}, {"y": (type_out, [4])}
    )


def opset(version: int) -> Callable[..., object]:
    return lambda make_model: one_node("Relu")(make_model, version)


def topk(count: int, **attributes: int) -> Callable[..., object]:
    return lambda make_model: make_model(
        [node("TopK", ["x", "k"], ["values", "indices"], "n", **attributes)],
        {"x": (F32, [5000])},
        {"values": (F32, [count]), "indices": (I64, [count])},
        {"k": ints(count)},
    )


def topk_by(k_nodes: list[onnx.NodeProto], inputs: dict[str, object]) -> Callable[..., object]:
    """A TopK whose count is what some nodes make of the inputs."""
    return lambda make_model: make_model(
        [*k_nodes, node("TopK", ["x", "k"], ["values", "indices"], "n")],
        {"x": (F32, [50]), **inputs},
        {"values": (F32, [None])},
    )


def reshape(constant: bool) -> Callable[..., object]:
    def make(make_model: MakeModel) -> onnx.ModelProto:
        inputs = {"x": (F32, [4, 4]), **({} if constant else {"shape": (I64, [1])})}
        constants = {"shape": ints(16)} if constant else {}
        return make_model([node("Reshape", ["x", "shape"], ["y"], "n")], inputs, {"y": (F32, [None])}, constants)

    return make


def reshape_by_shape(data_sized: bool) -> Callable[..., object]:
    """The size of one tensor, fixed or not, as the shape of another."""

    def make(make_model: MakeModel) -> onnx.ModelProto:
        first = node("NonZero" if data_sized else "Identity", ["x"], ["t"], "first")
        nodes = [first, node("Shape", ["t"], ["s"], "shape"), node("ConstantOfShape", ["s"], ["y"], "n")]
        return make_model(nodes, {"x": (F32, [4, 4])}, {"y": (F32, [None, None])})

    return make


def slice_to(constant: bool) -> Callable[..., object]:
    def make(make_model: MakeModel) -> onnx.ModelProto:
        inputs = {"x": (F32, [9]), **({} if constant else {"end": (I64, [1])})}
        constants = {"start": ints(0), **({"end": ints(4)} if constant else {})}
        return make_model([node("Slice", ["x", "start", "end"], ["y"], "n")], inputs, {"y": (F32, [None])}, constants)

    return make


def squeeze(constant: bool) -> Callable[..., object]:
    def make(make_model: MakeModel) -> onnx.ModelProto:
        inputs = {"x": (F32, [1, 4]), **({} if constant else {"axes": (I64, [1])})}
        constants = {"axes": ints(0)} if constant else {}
        return make_model([node("Squeeze", ["x", "axes"], ["y"], "n")], inputs, {"y": (F32, None)}, constants)

    return make


def input_of(element_type: int, shape: list[int | str]) -> Callable[..., object]:
    return lambda make_model: make_model(
        [node("Cast", ["n"], ["y"], "cast", to=F32)], {"n": (element_type, shape)}, {"y": (F32, shape)}
    )


def branches(one: list[int], other: list[int]) -> Callable[..., object]:
    def make(make_model: MakeModel) -> onnx.ModelProto:
        bodies = {
            f"{name}_branch": helper.make_graph(
                [node("Reshape", ["x", f"{name}_shape"], [name])], name, [],
                [helper.make_tensor_value_info(name, F32, shape)],
            )
            for name, shape in (("then", one), ("else", other))
        }  # fmt: skip
        shapes = {"then_shape": ints(*one), "else_shape": ints(*other)}
        inputs = {"x": (F32, [16]), "c": (BOOL, [])}
        return make_model([node("If", ["c"], ["y"], "n", **bodies)], inputs, {"y": (F32, None)}, shapes)

    return make


def where(make_model: MakeModel) -> onnx.ModelProto:
    inputs = {"c": (BOOL, [16]), "a": (F32, [16]), "b": (F32, [16])}
    return make_model([node("Where", ["c", "a", "b"], ["y"], "n")], inputs, {"y": (F32, [16])})


def loop(make_model: MakeModel) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Add", ["carried", "carried"], ["next"])],
        "body",
        [value("step", I64, []), value("go", BOOL, []), value("carried", F32, [2])],
        [value("on", BOOL, []), value("next", F32, [2])],
    )
    inputs = {"times": (I64, []), "c": (BOOL, []), "x": (F32, [2])}
    return make_model([node("Loop", ["times", "c", "x"], ["y"], "n", body=body)], inputs, {"y": (F32, [2])})


def scan(make_model: MakeModel) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Add", ["state", "row"], ["sum"]), node("Identity", ["sum"], ["out"])],
        "body",
        [value("state", F32, [3]), value("row", F32, [3])],
        [value("sum", F32, [3]), value("out", F32, [3])],
    )
    nodes = [node("Scan", ["s", "x"], ["last", "y"], "n", body=body, num_scan_inputs=1)]
    return make_model(nodes, {"s": (F32, [3]), "x": (F32, [5, 3])}, {"last": (F32, [3]), "y": (F32, [5, 3])})


def unrolled(make_model: MakeModel) -> onnx.ModelProto:
    nodes = [node("Add", ["x", "x"], ["t"], "n"), node("Add", ["t", "t"], ["y"], "m")]
    return make_model(nodes, {"x": (F32, [2])}, {"y": (F32, [2])})


def nms(pad: int, take: int, reader: str = "Gather", boxes: int = 60) -> Callable[..., object]:
    """Scores of kept boxes, padded by so many rows, of which so many are taken; 0 for no padding at all."""

    def make(make_model: MakeModel) -> onnx.ModelProto:
        nodes = [
            node("NonMaxSuppression", ["boxes", "scores", "most"], ["kept"], "n"),
            node("Gather", ["kept", "column"], ["rows"], "rows", axis=1),
            node("Gather", ["flat", "rows"], ["found"], "found"),
        ]
        if pad:
            nodes.append(node("Concat", ["found", "padding"], ["y" if not take else "padded"], "padded", axis=0))
        if take and reader == "Gather":
            nodes.append(node("Gather", ["padded" if pad else "found", "first"], ["y"], "reader"))
        elif take and reader == "TopK":
            nodes.append(node("TopK", ["padded" if pad else "found", "take"], ["y", ""], "reader"))
        elif take:
            nodes.append(node("Slice", ["padded" if pad else "found", "zero", "take", "zero"], ["y"], "reader"))
        elif not pad:
            nodes.append(node("Relu", ["found"], ["y"], "reader"))
        constants = {"most": ints(9), "column": np.array(2), "first": np.arange(take), "take": ints(take),
                     "zero": ints(0), "padding": np.zeros(pad, np.float32)}  # fmt: skip
        inputs = {"boxes": (F32, [1, boxes, 4]), "scores": (F32, [1, 1, boxes]), "flat": (F32, [boxes])}
        return make_model(nodes, inputs, {"y": (F32, [None])}, constants)

    return make


def roi_align(opset_version: int = 17, **attributes: object) -> Callable[..., object]:
    given = {"sampling_ratio": 2, "output_height": 7, "output_width": 7, **attributes}
    return lambda make_model: make_model(
        [node("RoiAlign", ["x", "rois", "batch"], ["y"], "n", **{k: v for k, v in given.items() if v is not None})],
        {"x": (F32, [1, 8, 32, 32]), "rois": (F32, [5, 4])},
        {"y": (F32, [5, 8, 7, 7])},
        {"batch": np.zeros(5, np.int64)},
        opset_version,
    )


def grid_sample(*sides: int) -> Callable[..., object]:
    return lambda make_model: make_model(
        [node("GridSample", ["x", "grid"], ["y"], "n")],
        {"x": (F32, [1, 8, *sides]), "grid": (F32, [1, *sides, len(sides)])},
        {"y": (F32, [1, 8, *sides])},
        opset=20,
    )


def resize(opset_version: int = 17, **attributes: object) -> Callable[..., object]:
    return lambda make_model: make_model(
        [node("Resize", ["x", "", "", "sizes"], ["y"], "n", **attributes)],
        {"x": (F32, [1, 3, 8, 8])},
        {"y": (F32, [1, 3, 16, 16])},
        {"sizes": ints(1, 3, 16, 16)},
        opset_version,
    )


def pool(outputs: int = 1, op: str = "MaxPool", opset_version: int = 17, **attributes: object) -> Callable[..., object]:
    return lambda make_model: make_model(
        [node(op, ["x"], ["y", "indices"][:outputs], "n", kernel_shape=[2, 2], **attributes)],
        {"x": (F32, [1, 3, 8, 8])},
        {"y": (F32, None)},
        opset=opset_version,
    )


def quantised(zero: np.ndarray | None, weight: np.ndarray | None = None) -> Callable[..., object]:
    """Quantised and back; with weights, those of a DequantizeLinear alone."""

    def make(make_model: MakeModel) -> onnx.ModelProto:
        constants = {"scale": np.array(0.1, np.float32)}
        last = [] if zero is None else ["zero"]
        if zero is not None:
            constants["zero"] = zero
        if weight is not None:
            constants["w"] = weight
            nodes = [node("DequantizeLinear", ["w", "scale", *last], ["y"], "n")]
            return make_model(nodes, {}, {"y": (F32, None)}, constants)
        nodes = [node("QuantizeLinear", ["x", "scale", *last], ["q"], "n"),
                 node("DequantizeLinear", ["q", "scale", *last], ["y"], "dq")]  # fmt: skip
        return make_model(nodes, {"x": (F32, [4])}, {"y": (F32, [4])}, constants)

    return make


def scatter(**attributes: str) -> Callable[..., object]:
    return lambda make_model: make_model(
        [node("ScatterND", ["x", "at", "new"], ["y"], "n", **attributes)],
        {"x": (F32, [8]), "new": (F32, [1])},
        {"y": (F32, [8])},
        {"at": ints(3)[None]},
    )


def batch_norm(training: int) -> Callable[..., object]:
    ones = np.ones(3, np.float32)
    return lambda make_model: make_model(
        [node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y", "rm", "rv"][: 1 + 2 * training], "n",
              training_mode=training)],
        {"x": (F32, [1, 3, 4, 4])},
        {"y": (F32, [1, 3, 4, 4])},
        {"s": ones, "b": ones, "m": ones, "v": ones},
    )  # fmt: skip


def constant_added(value: int) -> Callable[..., object]:
    return lambda make_model: make_model(
        [node("Add", ["x", "c"], ["y"], "n")], {"x": (I64, [1])}, {"y": (I64, [1])}, {"c": ints(value)}
    )


def huge_end(make_model: MakeModel) -> onnx.ModelProto:
    """ "Up to the end", as exporters write it."""
    constants = {"start": ints(1), "end": ints(np.iinfo(np.int64).max)}
    nodes = [node("Slice", ["x", "start", "end"], ["y"], "n")]
    return make_model(nodes, {"x": (F32, [9])}, {"y": (F32, [8])}, constants)


def foreign(op: str) -> Callable[..., object]:
    return lambda make_model: make_model(
        [node(op, ["x"], ["y"], "n", domain="TRT")], {"x": (F32, [2])}, {"y": (F32, [2])}
    )


def function(make_model: MakeModel) -> onnx.ModelProto:
    body = helper.make_function(
        "own", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    nodes = [node("Twice", ["x"], ["y"], "n", domain="own")]
    return make_model(nodes, {"x": (F32, [2])}, {"y": (F32, [2])}, functions=[body])


def quantised_topk(with_topk: bool) -> Callable[..., object]:
    def make(make_model: MakeModel) -> onnx.ModelProto:
        constants = {"scale": np.array(0.1, np.float32), "zero": np.array(0, np.int8), "k": ints(2)}
        last = node("TopK", ["t", "k"], ["y", ""]) if with_topk else node("Relu", ["t"], ["y"])
        nodes = [node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
                 node("DequantizeLinear", ["q", "scale", "zero"], ["t"]), last]  # fmt: skip
        return make_model(nodes, {"x": (F32, [4])}, {"y": (F32, None)}, constants)

    return make
