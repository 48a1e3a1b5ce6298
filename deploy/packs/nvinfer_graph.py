"""A detector's graph with the ends that DeepStream's nvinfer and its parser for SSD take.

nvinfer computes ``net-scale-factor * (level - offset of the channel)``: one factor for all channels. It takes the first
axis of every output for the images of a batch. `NvDsInferParseCustomTfSSD`, which comes with DeepStream, wants float32:
boxes as y1, x1, y2, x2 in shares of the canvas, scores, classes, and how many of them count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Mapping, NamedTuple, Sequence

import numpy as np

from deploy.pipeline.preprocess import Preprocess

if TYPE_CHECKING:
    import onnx

__all__ = ["CANDIDATES", "HEADS", "OUTPUTS", "adapt_graph"]

OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
CANDIDATES = "candidates"  # the head that leaves NMS to its user
FRAME = "nvinfer_frame"


class _Column(NamedTuple):
    """Where one value of each object is: an output, and which places of its last axis, if it holds others too."""

    output: str
    places: Sequence[int] | None = None


# by head: boxes as y1, x1, y2, x2, scores, labels, and the count if there is one; "" is a head's only output
HEADS: Mapping[str, Sequence[_Column]] = {
    "detections": (_Column("boxes", (1, 0, 3, 2)), _Column("scores"), _Column("labels"), _Column("count")),
    CANDIDATES: (_Column("boxes", (1, 0, 3, 2)), _Column("scores"), _Column("labels")),
    "ranked": (_Column("boxes", (1, 0, 3, 2)), _Column("scores"), _Column("labels")),
    "end2end": (_Column("", (1, 0, 3, 2)), _Column("", (4,)), _Column("", (5,))),
}


def adapt_graph(model: onnx.ModelProto, head: str, preprocess: Preprocess, divides: bool) -> onnx.ModelProto:
    """A copy of a model of one image whose outputs are `OUTPUTS`, without the last one where nothing is counted.

    Args:
        divides: whether the graph has to divide its input by the deviations, because nvinfer cannot.
    """
    from onnx import ModelProto, TensorProto, helper, numpy_helper

    adapted = ModelProto()
    adapted.CopyFrom(model)
    graph = adapted.graph

    def constant(name: str, values: np.ndarray) -> str:
        graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    if divides:
        (image,) = [entry for entry in graph.input if entry.name not in {tensor.name for tensor in graph.initializer}]
        inverse = (1 / np.array(preprocess.std)).astype(np.float32).reshape(1, 3, 1, 1)
        scaled = helper.make_node("Mul", [FRAME, constant("nvinfer_inverse_std", inverse)], [image.name], FRAME)
        graph.node.insert(0, scaled)  # it has the old input's name, so every reader reads what is scaled
        image.name = FRAME

    shares = 1 / np.array([preprocess.height, preprocess.width] * 2, np.float32)
    only = graph.output[0].name
    rows = 0
    ends = []
    for name, column in zip(OUTPUTS, HEADS[head]):
        source = column.output or only
        if column.places is not None:
            places = constant(f"{name}_places", np.array(column.places, np.int64))
            graph.node.append(helper.make_node("Gather", [source, places], [f"{name}_picked"], axis=-1))
            source = f"{name}_picked"
        graph.node.append(helper.make_node("Cast", [source], [f"{name}_float"], to=TensorProto.FLOAT))
        source = f"{name}_float"
        if name == "detection_boxes":
            graph.node.append(helper.make_node("Mul", [source, constant("nvinfer_shares", shares)], [f"{name}_shares"]))
            source = f"{name}_shares"
            rows = _count_rows(graph, column.output or only)
        shape = {"detection_boxes": (1, rows, 4), "num_detections": (1, 1)}.get(name, (1, rows))
        sides = constant(f"{name}_shape", np.array(shape, np.int64))
        graph.node.append(helper.make_node("Reshape", [source, sides], [name]))
        ends.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    del graph.output[:]
    graph.output.extend(ends)
    return adapted


def _count_rows(graph: onnx.GraphProto, output: str) -> int:
    (found,) = [entry.type.tensor_type.shape for entry in graph.output if entry.name == output]
    return int(found.dim[-2].dim_value)
