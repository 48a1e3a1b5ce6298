"""The part of a detection graph that may compute in another precision: convolutions, linears, what lies between.

Everything after the last layer of a path (softmax, box decoding, TopK, NMS) is no part of it, and neither is RoIAlign,
as operator or as GridSample, whose boxes need FP32: the network continues behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Mapping, Sequence

if TYPE_CHECKING:
    import onnx

__all__ = ["STAYS_FP32", "Layer", "Trunk", "find_trunk"]

LAYERS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
# What hands features on from one layer to the next: by their first input, or by all of them.
ONE_INPUT = frozenset(
    ("AveragePool", "Clip", "Elu", "Flatten", "GlobalAveragePool", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu",
     "MaxPool", "Pad", "PRelu", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Split", "Tanh", "Transpose")
)  # fmt: skip
ALL_INPUTS = frozenset(("Add", "Concat", "Max", "Mul", "Sum"))
STAYS_FP32 = frozenset(
    ("GridSample", "RoiAlign")
)  # hands features on, by its first input, and computes in FP32 all the same


@dataclass(frozen=True)
class Layer:
    """A convolution or linear with constant weights.

    Attributes:
        node: its name. operator: what it does, in ONNX's words.
        group: the name of its weights, which layers of several pyramid levels share.
        is_last: no other layer follows it: its output is what a head says, and the post-processing reads it.
    """

    node: str
    operator: str
    group: str
    is_last: bool


@dataclass(frozen=True)
class Trunk:
    """Layers in the order of the graph, and the nodes between them (names of both are unique in the graph).

    Attributes:
        carriers: names of the nodes that hand features on between layers, and compute in any precision.
    """

    layers: tuple[Layer, ...]
    carriers: tuple[str, ...]

    def groups(self, with_last: bool, lacking: Sequence[str] = ()) -> tuple[str, ...]:
        """Groups of layers in the order of the graph, with or without those whose layers are last.

        Args:
            lacking: operators whose layers are left out.
        """
        layers = [layer for layer in self.layers if with_last or not layer.is_last]
        return tuple(dict.fromkeys(layer.group for layer in layers if layer.operator not in lacking))

    def nodes_of(self, groups: Sequence[str]) -> tuple[str, ...]:
        """Names of the layers of some groups."""
        return tuple(layer.node for layer in self.layers if layer.group in groups)


def find_trunk(model: onnx.ModelProto) -> Trunk:
    """The layers of a graph and what lies between them; nodes without a name get one, in place."""
    nodes = model.graph.node
    taken: set[str] = set()
    for place, node in enumerate(nodes):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{place}_{len(nodes)}"
        taken.add(node.name)
    constants = {entry.name for entry in model.graph.initializer}
    readers: dict[str, list[int]] = {}
    for place, node in enumerate(nodes):
        for name in _features_of(node):
            readers.setdefault(name, []).append(place)
    leads: dict[int, bool] = {}  # whether a layer comes after a node, by its place
    for place in reversed(range(len(nodes))):
        following = [reader for name in nodes[place].output for reader in readers.get(name, ())]
        leads[place] = any(_is_layer(nodes[reader], constants) or leads[reader] for reader in following)
    reached = _reach(model, constants)
    layers = tuple(
        Layer(node.name, node.op_type, node.input[1], not leads[place])
        for place, node in enumerate(nodes)
        if _is_layer(node, constants)
    )
    carriers = tuple(
        node.name
        for place, node in enumerate(nodes)
        if node.op_type in ONE_INPUT | ALL_INPUTS and leads[place] and place in reached
    )
    return Trunk(layers, carriers)


def _is_layer(node: onnx.NodeProto, constants: set[str]) -> bool:
    return node.op_type in LAYERS and len(node.input) > 1 and node.input[1] in constants


def _features_of(node: onnx.NodeProto) -> Sequence[str]:
    """Inputs through which features enter a node; none of one that is no part of the trunk."""
    if node.op_type in ALL_INPUTS:
        return list(node.input)
    return list(node.input[:1]) if node.op_type in LAYERS | ONE_INPUT | STAYS_FP32 else []


def _reach(model: onnx.ModelProto, constants: set[str]) -> Mapping[int, bool]:
    """Places of the nodes that a layer's output reaches through nothing but the trunk."""
    features: set[str] = set()
    reached: dict[int, bool] = {}
    for place, node in enumerate(model.graph.node):
        inside = _is_layer(node, constants) or any(name in features for name in _features_of(node))
        if inside:
            features.update(node.output)
            reached[place] = True
    return reached
