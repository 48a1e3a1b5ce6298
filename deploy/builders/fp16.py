"""FP16 by casts: features and weights of chosen nodes become float16, and a Cast stands at each border.

All but a named trunk stays FP32 here, what passes between two such nodes included. Of two libraries' converters one
does not serve, and one writes the same once it is told the trunk (benchmarks/reports/fp16-casts_cpu2_2026-11.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Mapping

import numpy as np

from deploy.builders.calibration import Ranges
from deploy.builders.trunk import Trunk

if TYPE_CHECKING:
    import onnx

__all__ = ["WIDE", "cast_to_fp16", "find_wide_nodes"]

WIDE = 1e4  # magnitudes above it stay in FP32; float16 ends at 65504
FP32_INPUTS: Mapping[str, tuple[int, ...]] = {
    "Resize": (1, 2)
}  # region and scales: float32 by the operator's definition


def cast_to_fp16(model: onnx.ModelProto, nodes: frozenset[str]) -> onnx.ModelProto:
    """A copy of a model whose nodes of these names compute in float16; the model's inputs and outputs stay FP32."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {
        entry.name: entry.type.tensor_type.elem_type
        for entry in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    constants = {entry.name: entry for entry in model.graph.initializer}
    written: list[onnx.NodeProto] = []
    known = set(constants) | {entry.name for entry in model.graph.input}
    halves: list[onnx.TensorProto] = []

    def have(name: str, other: str, to: int) -> str:
        """That tensor, cast from the other where it does not exist yet."""
        if name not in known:
            written.append(onnx.helper.make_node("Cast", [other], [name], "cast_" + name, to=to))
            known.add(name)
        return name

    def half_of(name: str) -> str:
        if name in constants:
            if _half(name) not in known:
                values = onnx.numpy_helper.to_array(constants[name]).astype(np.float16)
                halves.append(onnx.numpy_helper.from_array(values, _half(name)))
                known.add(_half(name))
            return _half(name)
        return have(_half(name), name, onnx.TensorProto.FLOAT16)

    types.update((name, entry.data_type) for name, entry in constants.items())
    for source in model.graph.node:
        node = onnx.NodeProto()
        node.CopyFrom(source)
        is_half = source.name in nodes
        for place, name in enumerate(source.input):
            if not name or types.get(name) != onnx.TensorProto.FLOAT:
                continue
            if is_half and place not in FP32_INPUTS.get(source.op_type, ()):
                node.input[place] = half_of(name)
            else:
                have(name, _half(name), onnx.TensorProto.FLOAT)
        if is_half:
            node.output[:] = [_half(name) for name in source.output]
        known.update(node.output)
        written.append(node)
    for entry in model.graph.output:
        have(entry.name, _half(entry.name), onnx.TensorProto.FLOAT)
    return _assemble(model, written, halves)


def find_wide_nodes(model: onnx.ModelProto, trunk: Trunk, ranges: Ranges) -> frozenset[str]:
    """Nodes of the trunk that read or write a feature, or read a weight, of a magnitude above `WIDE`."""
    import onnx

    wide: set[str] = {name for name, (low, high) in ranges.items() if max(-low, high) > WIDE}
    for entry in model.graph.initializer:
        if entry.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(entry)
            if values.size and float(np.abs(values).max()) > WIDE:
                wide.add(entry.name)
    members = {layer.node for layer in trunk.layers} | set(trunk.carriers)
    return frozenset(
        node.name
        for node in model.graph.node
        if node.name in members and wide.intersection((*node.input, *node.output))
    )


def _half(name: str) -> str:
    return name + "_fp16"


def _assemble(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]
) -> onnx.ModelProto:
    """The model with other nodes, and of old and new constants those that are read."""
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.value_info[:], result.graph.initializer[:]
    result.graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    result.graph.initializer.extend(entry for entry in (*model.graph.initializer, *constants) if entry.name in read)
    return result
