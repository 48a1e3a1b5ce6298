"""What an ONNX graph says about its tensors: types, shapes, constants, and which sizes depend on the data.

The `onnx` package is needed when a graph is looked at, not when this module is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence

import numpy as np

if TYPE_CHECKING:
    import onnx

__all__ = ["CONTROL_FLOW", "SIZE_INPUTS", "GraphFacts", "attribute_of", "bodies_of", "label_of"]

CONTROL_FLOW = ("If", "Loop", "Scan")
DATA_SIZED = frozenset((*CONTROL_FLOW, "NonZero", "NonMaxSuppression", "Unique", "Compress"))
# The inputs that say how large an output is; the rest of the graph is of fixed size when these are constant.
SIZE_INPUTS: Mapping[str, tuple[int, ...]] = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Upsample": (1,),
}
RANDOM = frozenset(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial")
)
SIZED_BY_FIRST = frozenset(("Scatter", "ScatterElements", "ScatterND"))
# What may stand between a NonMaxSuppression and its padding: operators that keep one row a selected box.
ROW_BY_ROW = frozenset(("Add", "Cast", "Div", "Identity", "Mul", "Squeeze", "Sub", "Unsqueeze"))


class GraphFacts:
    """One graph, or the body of an If, Loop or Scan; what is defined outside of a body is taken from `outer`.

    Attributes:
        types: element type of each tensor that has one known, as ONNX numbers them.
        shapes: sizes, None where a dimension is free; absent where even the rank is not known.
        constants: tensors whose value is in the file.
        static: tensors whose value is known once the input shapes are: constants, and what is computed from them alone.
        data_sized: tensors whose size depends on what is in the image.
        escapes: for each NonMaxSuppression, by its place in the graph, what reads its rows before they were padded to a
            fixed count; those that are padded at once are absent.
    """

    def __init__(self, graph: onnx.GraphProto, outer: GraphFacts | None = None) -> None:
        self.graph = graph
        self.types: dict[str, int] = dict(outer.types) if outer else {}
        self.shapes: dict[str, tuple[int | None, ...]] = dict(outer.shapes) if outer else {}
        self.constants: dict[str, onnx.TensorProto] = dict(outer.constants) if outer else {}
        self.static: set[str] = set(outer.static) if outer else set()
        self.data_sized: set[str] = set(outer.data_sized) if outer else set()
        self.escapes: dict[int, str] = {}
        self._roots: dict[str, frozenset[int]] = {}  # of a tensor with unpadded rows: the NonMaxSuppressions it is from
        self._rows: dict[str, int] = {}  # and how many rows it has at least
        self._read_declarations()
        for place, node in enumerate(graph.node):
            self._read_node(place, node)
        for output in graph.output:
            self._escape(self._roots.get(output.name, frozenset()), f"the output {output.name}")

    def value_of(self, name: str) -> np.ndarray | None:
        """The value of a constant; None where the tensor is none, or lies in another file."""
        import onnx

        tensor = self.constants.get(name)
        if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
            return None
        return np.asarray(onnx.numpy_helper.to_array(tensor))

    def free_inputs(self, node: onnx.NodeProto) -> list[str]:
        """Those inputs that set the size of the node's outputs and are not known when the engine is built."""
        found = (node.input[index] for index in SIZE_INPUTS.get(node.op_type, ()) if index < len(node.input))
        return [name for name in found if name and name not in self.static]

    def _read_declarations(self) -> None:
        for entry in (*self.graph.input, *self.graph.value_info, *self.graph.output):
            if not entry.type.HasField("tensor_type"):
                continue
            if entry.type.tensor_type.elem_type:
                self.types[entry.name] = entry.type.tensor_type.elem_type
            if entry.type.tensor_type.HasField("shape"):
                sides = entry.type.tensor_type.shape.dim
                self.shapes[entry.name] = tuple(
                    side.dim_value if side.HasField("dim_value") else None for side in sides
                )
        for tensor in self.graph.initializer:
            self._add_constant(tensor.name, tensor)
        for entry in self.graph.sparse_initializer:
            self.static.add(entry.values.name)
            self.types[entry.values.name] = entry.values.data_type

    def _add_constant(self, name: str, tensor: onnx.TensorProto) -> None:
        self.constants[name] = tensor
        self.static.add(name)
        self.types[name] = tensor.data_type
        self.shapes[name] = tuple(tensor.dims)

    def _read_node(self, place: int, node: onnx.NodeProto) -> None:
        inputs, outputs = [name for name in node.input if name], [name for name in node.output if name]
        sized = [name for name in (*inputs, *_names_in_bodies(node)) if name in self.data_sized]
        if node.op_type == "Constant":
            self._read_constant(node)
        elif node.op_type in ("Shape", "Size"):
            self.static.update(outputs if not sized else [])
        elif node.op_type not in CONTROL_FLOW and node.op_type not in RANDOM and all(n in self.static for n in inputs):
            self.static.update(outputs)
        padded = self._follow_rows(place, node)
        if padded or (node.op_type in SIZED_BY_FIRST and node.input[0] not in self.data_sized):
            return
        if sized or node.op_type in DATA_SIZED or self.free_inputs(node):
            self.data_sized.update(outputs)

    def _read_constant(self, node: onnx.NodeProto) -> None:
        import onnx

        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            if attribute.name == "value":
                self._add_constant(node.output[0], value)
            elif attribute.name in ("value_int", "value_ints"):
                self._add_constant(node.output[0], onnx.numpy_helper.from_array(np.asarray(value, np.int64)))
            elif attribute.name in ("value_float", "value_floats"):
                self._add_constant(node.output[0], onnx.numpy_helper.from_array(np.asarray(value, np.float32)))
            else:
                self.static.add(node.output[0])

    def _follow_rows(self, place: int, node: onnx.NodeProto) -> bool:
        """Carries the rows of NonMaxSuppressions from inputs to outputs; True where the outputs have a fixed size."""
        if node.op_type == "NonMaxSuppression":
            self._set_rows(node.output[:1], frozenset((place,)), 0)
        coming = [name for name in (*node.input, *_names_in_bodies(node)) if name in self._roots]
        if not coming:
            return False
        roots = frozenset().union(*(self._roots[name] for name in coming))
        least = min(self._rows[name] for name in coming)
        taken = self._rows_taken(node)
        if taken is not None:
            if taken <= least:
                return True
            self._escape(roots, f"{node.op_type} {label_of(node, place)}, which needs {taken} rows")
            return False
        if node.op_type == "Concat" and self._axis_of(node) == 0:
            least = sum(self._rows[name] if name in self._roots else self._first_side(name) for name in node.input)
        elif not self._keeps_rows(node):
            self._escape(roots, f"{node.op_type} {label_of(node, place)}")
            return False
        self._set_rows(node.output, roots, least)
        return False

    def _rows_taken(self, node: onnx.NodeProto) -> int | None:
        """How many of its rows a node picks, where that count is constant: the node then ends the padding."""
        name = node.input[0]
        if name not in self._roots:
            return None
        if node.op_type == "TopK" and self._axis_of(node, -1) == 0:
            count = self.value_of(node.input[1])
            return None if count is None else int(count.item())
        if node.op_type == "Gather" and self._axis_of(node) == 0:
            indices = self.value_of(node.input[1])
            if indices is None:  # computed: as many rows as indices; whether they are in range is no matter of size
                return None if node.input[1] in self.data_sized else 0
            return None if indices.size == 0 or indices.min() < 0 else int(indices.max()) + 1
        if node.op_type == "Slice":
            bounds = [self.value_of(bound) for bound in node.input[1:]]
            if len(bounds) < 3 or any(bound is None or bound.size != 1 for bound in bounds):
                return None
            start, end, axis = (int(bound.item()) for bound in bounds[:3] if bound is not None)
            return end if axis == 0 and 0 <= start < end else None
        return None

    def _keeps_rows(self, node: onnx.NodeProto) -> bool:
        """Whether the output has one row for every row that comes in, in its first dimension and in no other."""
        allowed = node.op_type in ROW_BY_ROW or node.op_type in ("Gather", "Concat", "Slice")
        if node.op_type == "Slice":  # of columns: it does not touch the rows
            axes = self.value_of(node.input[3]) if len(node.input) > 3 else None
            allowed = axes is not None and 0 not in axes.tolist()
        if node.op_type == "Gather" and node.input[0] in self._roots:  # columns again; rows by rows are no padding
            allowed = self._axis_of(node) != 0
        sides = self.shapes.get(node.output[0])
        return allowed and sides is not None and len(sides) > 0 and None not in sides[1:]

    def _axis_of(self, node: onnx.NodeProto, default: int = 0) -> int:
        axis = int(attribute_of(node, "axis", default))
        sides = self.shapes.get(node.input[0])
        return axis + len(sides) if axis < 0 and sides is not None else axis

    def _first_side(self, name: str) -> int:
        sides = self.shapes.get(name)
        return (sides[0] or 0) if sides else 0

    def _set_rows(self, names: Sequence[str], roots: frozenset[int], least: int) -> None:
        for name in names:
            self._roots[name], self._rows[name] = roots, least

    def _escape(self, roots: frozenset[int], reader: str) -> None:
        for place in roots:
            self.escapes.setdefault(place, reader)


def attribute_of(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The value of an attribute (text decoded), or the default."""
    import onnx

    for attribute in node.attribute:
        if attribute.name == name:
            value = onnx.helper.get_attribute_value(attribute)
            return value.decode() if isinstance(value, bytes) else value
    return default


def label_of(node: onnx.NodeProto, place: int) -> str:
    """What a user finds the node by: its name, else its first output, else its place in the graph."""
    return node.name or next(iter(node.output), "") or f"#{place}"


def bodies_of(node: onnx.NodeProto) -> Iterator[tuple[str, onnx.GraphProto]]:
    """The graphs inside of an If, Loop or Scan, by the name of the attribute."""
    import onnx

    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.name, attribute.g


def _names_in_bodies(node: onnx.NodeProto) -> Iterator[str]:
    """Every tensor that the bodies of a node read, theirs and those from outside."""
    for _, body in bodies_of(node):
        for inner in body.node:
            yield from inner.input
            yield from _names_in_bodies(inner)
        for output in body.output:
            yield output.name
