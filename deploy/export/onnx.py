"""A detector as one ONNX graph: fixed shapes, opset 17, operators every engine takes, equal bytes for equal weights."""

from __future__ import annotations

import copy
import hashlib
import io
import os
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deploy.errors import ExportError
from deploy.export.graph_ops import MAX_TOPK, OnnxGraphOps
from deploy.export.matrix_nms import MatrixGraphOps, RawGraphOps
from deploy.export.roi_align import ROI_ALIGN
from deploy.files import write_file
from deploy.pipeline.nms import Selection

__all__ = ["NMS", "OPERATORS", "OPSET", "GraphReport", "check_graph", "export_onnx"]

OPSET = 17  # the highest TensorRT 8.5 reads
INPUT = "images"
WEIGHT_BYTES = 1024  # a constant that is larger holds no shape
NMS: Mapping[str, type[OnnxGraphOps]] = {"op": OnnxGraphOps, "matrix": MatrixGraphOps, "raw": RawGraphOps}

# What ONNX Runtime and TensorRT 8.5 to 11 execute on fixed shapes. No If, Loop, NonZero; no BatchNormalization either,
# because one that was not folded into its convolution is a mistake of the export.
# fmt: off
OPERATORS = frozenset({
    "Add", "And", "AveragePool", "Cast", "Ceil", "Clip", "Concat", "Constant", "Conv", "ConvTranspose", "Div", "Equal",
    "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "Gemm", "Greater", "GreaterOrEqual", "GridSample",
    "Identity", "Less", "LessOrEqual", "Log", "MatMul", "Max", "MaxPool", "Min", "Mul", "Neg", "NonMaxSuppression",
    "Not", "Or", "Pad", "Pow", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape", "Resize",
    "RoiAlign", "Sigmoid", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Tile", "TopK", "Transpose",
    "Unsqueeze", "Where",
})
# fmt: on


@dataclass(frozen=True)
class GraphReport:
    """What was written: operators maps operator to number of nodes, bytes and sha256 are the file's.

    Attributes:
        head: how its outputs are read, a name in `deploy.pipeline.decode.HEADS`; selection: what that head is told.
    """

    path: Path
    opset: int
    nodes: int
    operators: dict[str, int]
    bytes: int
    sha256: str
    head: str = "detections"
    selection: Selection | None = None


def export_onnx(
    detector: nn.Module,
    input_size: tuple[int, int],
    path: Path,
    nms: str = "op",
    max_detections: int = 100,
    images: int = 1,
    roi_align: str = "op",
) -> GraphReport:
    """Writes the detection graph of a detector (its ``raw``) for a canvas of (width, height), and says what it holds.

    Input "images" (1, 3, height, width) float32, normalised. Outputs with K = max_detections, best first: "boxes"
    (K, 4) xyxy canvas pixels, "scores" (K,), "labels" (K,) int64, "count" (1,) int64; rows from count on are zeros.
    With the NMS "matrix" also "unsettled" (1,) int64: how many of the image's sets may differ from greedy NMS's.
    With "raw" K is the number of candidates, best first, there is no "count", and the report's selection is what the
    host has to do; "unsettled" is there if the graph has sets of region proposals.
    Regions are pooled by RoiAlign ("op") or by GridSample ("grid"); a RetinaNet has none.
    The detector is left as it was. `ExportError` where the graph is not one that every engine takes, or where more than
    one of ``images`` at once is asked for; then no file is written, nor is one replaced.
    """
    for what, name, known in (("NMS", nms, set(NMS)), ("RoIAlign", roi_align, set(ROI_ALIGN))):
        if name not in known:
            raise ExportError(f"no {what} variant is called {name!r}; there are: {', '.join(sorted(known))}")
    if images != 1:
        raise ExportError(
            f"a graph of {images} images at once was asked for; proposals and detections are selected for one image in "
            "these graphs: export one of 1, or adopt a model that has the batch already"
        )
    path = Path(path)
    ops = NMS[nms](roi_align)
    model = _tidy(onnx.load_model_from_string(_simplify(_trace(detector, ops, input_size, max_detections))))
    check_graph(model, max_detections)
    content = model.SerializeToString(deterministic=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, content)
    operators = Counter(node.op_type for node in model.graph.node)
    return GraphReport(
        path=path,
        opset=OPSET,
        nodes=len(model.graph.node),
        operators=dict(sorted(operators.items())),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        head=ops.head,
        selection=ops.selection,
    )


def check_graph(model: onnx.ModelProto, max_detections: int) -> None:
    """Raises `ExportError` naming what a fixed-shape detection graph must not hold: operators, sizes, TopK counts."""
    foreign = sorted(
        {
            f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            for node in model.graph.node
            if node.domain or node.op_type not in OPERATORS
        }
    )
    if foreign:
        raise ExportError(f"the graph holds operators that not every engine takes: {', '.join(foreign)}")
    constants = {entry.name: entry for entry in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "TopK":
            count = constants.get(node.input[1])
            if count is None or onnx.numpy_helper.to_array(count).item() > MAX_TOPK:
                raise ExportError(f"the count of TopK {node.name} is not a constant of at most {MAX_TOPK}")
    onnx.checker.check_model(_without_weights(model), full_check=True)
    found = {entry.name: [dim.dim_value for dim in entry.type.tensor_type.shape.dim] for entry in model.graph.output}
    rows = (
        max_detections if "count" in found else max(found.get("scores", [1])[0], 1)
    )  # a graph of candidates has its own
    expected = {"boxes": [rows, 4], "scores": [rows], "labels": [rows]}
    expected.update({name: [1] for name in ("count", "unsettled") if name in found})
    if found != expected:
        raise ExportError(f"the graph's outputs should be of fixed sizes {expected}; they are {found} (0: not fixed)")


class _Graph(nn.Module):
    def __init__(self, detector: nn.Module, ops: OnnxGraphOps, max_detections: int) -> None:
        super().__init__()
        self.detector, self.ops, self.max_detections = detector, ops, max_detections

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        if isinstance(self.ops, MatrixGraphOps):
            self.ops.reset()
        outputs: tuple[Tensor, ...] = self.detector.raw(images, self.ops, self.max_detections)  # type: ignore[operator]
        named = dict(zip(OnnxGraphOps.outputs, outputs))
        if isinstance(self.ops, MatrixGraphOps):
            named["unsettled"] = self.ops.count_unsettled()
        return tuple(named[name] for name in self.ops.outputs)


def _trace(detector: nn.Module, ops: OnnxGraphOps, input_size: tuple[int, int], max_detections: int) -> bytes:
    """What the TorchScript exporter makes of ``raw``.

    That exporter, because it writes opset 17 and our own operators natively; the newer one only converts from 18 down.
    It warns of its age, and of every Python number made from a shape, which is what fixed shapes are.
    """
    width, height = input_size
    copied = copy.deepcopy(detector).cpu().float().eval()
    _fold_norms(copied)
    model = _Graph(copied, ops, max_detections)
    content = io.BytesIO()
    images = torch.linspace(-2, 2, 3 * height * width).reshape(1, 3, height, width)
    with warnings.catch_warnings(), torch.no_grad():
        for message in ("You are using the legacy TorchScript", "The feature will be removed"):
            warnings.filterwarnings("ignore", message=message, category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=TracerWarning)
        warnings.filterwarnings("ignore", message="Constant folding", category=UserWarning)
        model(images)  # afterwards it is known which outputs there are
        torch.onnx.export(
            model,
            (images,),
            content,  # type: ignore[arg-type]  # this exporter takes one
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(ops.outputs),
        )
    return content.getvalue()


def _fold_norms(model: nn.Module) -> None:
    """Take each BatchNorm behind a transposed convolution into it; the exporter does so behind a convolution alone."""
    for block in model.modules():
        layers = list(block.named_children()) if isinstance(block, nn.Sequential) else []
        for (name, layer), (place, norm) in pairwise(layers):
            if isinstance(layer, nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(block, name, fuse_conv_bn_eval(layer, norm, transpose=True))
                setattr(block, place, nn.Identity())


def _simplify(model: bytes) -> bytes:
    """Folds constants and drops what does nothing, by ONNX Runtime's basic (hardware-independent) rewriting.

    ONNX Runtime writes the outcome into a file alone, and of a full disk it does not say what is wrong: the file is one
    in memory.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    descriptor = os.memfd_create("simplified")
    with os.fdopen(descriptor, "rb") as file:
        options.optimized_model_filepath = f"/proc/self/fd/{descriptor}"
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return file.read()


def _tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph without traces of how it was made (opsets, versions, doc strings), output sizes as inferred."""
    del model.opset_import[:], model.metadata_props[:], model.graph.value_info[:]
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    model.producer_name, model.producer_version, model.doc_string = "detopt", "", ""
    model.graph.name, model.graph.doc_string = "detector", ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    constants = sorted(model.graph.initializer, key=lambda entry: entry.name)
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(_without_weights(model), data_prop=True)
    for output, known in zip(model.graph.output, inferred.graph.output):
        output.CopyFrom(known)
    return model


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with an input in the place of each large constant: of those ONNX only asks type and shape.

    Its checks and inference copy the whole model several times, a second and more where the weights are 100 MB.
    """
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = light.graph
    graph.name = model.graph.name
    for field in ("node", "input", "output", "value_info"):
        getattr(graph, field).extend(getattr(model.graph, field))
    for constant in model.graph.initializer:
        if len(constant.raw_data) > WEIGHT_BYTES:
            graph.input.append(onnx.helper.make_tensor_value_info(constant.name, constant.data_type, constant.dims))
        else:
            graph.initializer.append(constant)
    return light
