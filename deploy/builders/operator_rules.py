"""What TensorRT's documents ask of the attributes and constants of single operators, a rule an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Iterable, Iterator, NamedTuple

import numpy as np

from deploy.builders.graph_facts import GraphFacts, attribute_of
from deploy.builders.releases import TYPE_NAMES, Release

if TYPE_CHECKING:
    import onnx

__all__ = ["RULES", "Problem"]

MAX_TOPK = 3840
MAX_NMS_CANDIDATES = 5000
UINT8 = 2
ROI_COORDINATES = ("half_pixel", "output_half_pixel")
RESIZE_COORDINATES = ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners")
RESIZE_NEAREST = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
RESIZE_ATTRIBUTES: tuple[tuple[str, object, tuple[object, ...]], ...] = (  # name, ONNX's default, what is known
    ("coordinate_transformation_mode", "half_pixel", RESIZE_COORDINATES),
    ("nearest_mode", "round_prefer_floor", RESIZE_NEAREST),
    ("keep_aspect_ratio_policy", "stretch", ("stretch",)),
    ("antialias", 0, (0,)),
)


class Problem(NamedTuple):
    """A finding without the node and the release it is about."""

    severity: str
    reason: str
    advice: str


Rule = Callable[[GraphFacts, "onnx.NodeProto", Release], Iterable[Problem]]


def _check_topk(facts: GraphFacts, node: onnx.NodeProto, release: Release) -> Iterator[Problem]:
    advice = "take the best of parts (for detectors: of each pyramid level), then of what is left"
    count = attribute_of(node, "k", 0)
    if len(node.input) > 1:
        value = facts.value_of(node.input[1])
        count = int(value.item()) if value is not None and value.size == 1 else 0
        if value is None and node.input[1] in facts.static:
            reason = f"K is computed from sizes; whether it is at most {MAX_TOPK} was not checked"
            yield Problem("unknown", reason, "fold the constants of the graph")
    if count > MAX_TOPK:
        yield Problem("refused", f"K is {count}; it takes at most {MAX_TOPK}", advice)
    elif count == MAX_TOPK:
        yield Problem("unknown", f"K is {MAX_TOPK}: one document says up to {MAX_TOPK}, another less", advice)
    if not attribute_of(node, "sorted", 1):
        severity = "refused" if release.native_int64 else "unknown"
        yield Problem(severity, "sorted is 0; it is listed with 1 alone", "export with sorted=True")


def _check_nms(facts: GraphFacts, node: onnx.NodeProto, release: Release) -> Iterator[Problem]:
    sides = facts.shapes.get(node.input[1], ()) if len(node.input) > 1 else ()
    if len(sides) == 3 and sides[1] and sides[2] and sides[1] * sides[2] > MAX_NMS_CANDIDATES:
        reason = (
            f"{sides[1] * sides[2]} candidates; beyond the best {MAX_NMS_CANDIDATES} of all classes none is looked at"
        )
        advice = "choose a score threshold that leaves fewer, and compare average precision on the device"
        yield Problem("note", reason, advice)


def _check_roi_align(facts: GraphFacts, node: onnx.NodeProto, release: Release) -> Iterator[Problem]:
    coordinates = attribute_of(node, "coordinate_transformation_mode", "half_pixel")
    mode = attribute_of(node, "mode", "avg")
    if coordinates not in ROI_COORDINATES:
        reason = f"coordinate_transformation_mode {coordinates}; it knows {' and '.join(ROI_COORDINATES)}"
        yield Problem("refused", reason, "export with output_half_pixel (aligned=False) or half_pixel (aligned=True)")
    if mode not in ("avg", "max"):
        yield Problem("refused", f"mode {mode}; it knows avg and max", "export with avg")
    if attribute_of(node, "sampling_ratio", None) is None:
        reason = "no sampling_ratio: ONNX means 0 (by the size of the box), the parser reads 1"
        severity = "refused" if release.version == "10.16" else "unknown"
        yield Problem(severity, reason, "write sampling_ratio into the node")


def _check_grid_sample(facts: GraphFacts, node: onnx.NodeProto, release: Release) -> Iterator[Problem]:
    sides = facts.shapes.get(node.input[0])
    if sides is not None and len(sides) != 4:
        reason = f"samples from {len(sides)} dimensions; its layer takes 4, images and channels of maps"
        yield Problem("refused", reason, "sample from maps (N, C, H, W)")


def _check_resize(facts: GraphFacts, node: onnx.NodeProto, release: Release) -> Iterator[Problem]:
    mode = attribute_of(node, "mode", "nearest")
    for name, default, known in RESIZE_ATTRIBUTES:
        found = attribute_of(node, name, default)
        if found not in known and (name != "nearest_mode" or mode == "nearest"):
            reason = f"{name} {found}; it knows {', '.join(map(str, known))}"
            yield Problem("refused", reason, "resize with nearest or linear, asymmetric or half_pixel")
    if mode == "cubic":
        yield Problem("unknown", "cubic: the parser reads it, its list leaves it out", "resize with linear")
    elif mode not in ("nearest", "linear"):
        yield Problem("refused", f"mode {mode}; it knows nearest and linear", "resize with linear")


def _check_pool(facts: GraphFacts, node: onnx.NodeProto, release: Release) -> Iterator[Problem]:
    dilations = attribute_of(node, "dilations", ())
    if any(step != 1 for step in dilations):
        yield Problem("refused", f"dilations {dilations}; it takes none", "pool without dilation")
    if node.op_type == "MaxPool" and len(node.output) > 1 and node.output[1]:
        yield Problem("refused", "the output of indices is not supported", "find the indices another way")


def _check_quantisation(facts: GraphFacts, node: onnx.NodeProto, release: Release) -> Iterator[Problem]:
    if node.op_type == "QuantizeLinear":
        found = facts.types.get(node.output[0], UINT8)  # what ONNX makes of one without a zero point
        letter = release.letter_of(found)
        if not letter or letter not in (release.operators["DequantizeLinear"] or ""):
            reason = f"quantises to {TYPE_NAMES.get(found, found)}, which no layer reads"
            yield Problem("refused", reason, "quantise to int8, symmetrically")
    if len(node.input) > 2 and node.input[2]:
        zero = facts.value_of(node.input[2])
        if zero is None:
            yield Problem("unknown", "its zero point is not in the file; it has to be 0", "make it a constant 0")
        elif zero.astype(np.float32).any():
            yield Problem("refused", "its zero point is not 0", "quantise symmetrically")


def _check_axes(facts: GraphFacts, node: onnx.NodeProto, release: Release) -> Iterator[Problem]:
    if len(node.input) > 1 and node.input[1] and node.input[1] not in facts.static:
        yield Problem("refused", "its axes are not a constant", "make them a constant of the export")


def _check_scatter(facts: GraphFacts, node: onnx.NodeProto, release: Release) -> Iterator[Problem]:
    if attribute_of(node, "reduction", "none") != "none":
        reduction = attribute_of(node, "reduction", "")
        yield Problem("refused", f"reduction {reduction}", "scatter without reduction")


def _check_training(facts: GraphFacts, node: onnx.NodeProto, release: Release) -> Iterator[Problem]:
    if attribute_of(node, "training_mode", 0):
        yield Problem("refused", "it is in training mode", "export the model in evaluation mode")


RULES: dict[str, Rule] = {
    "AveragePool": _check_pool,
    "BatchNormalization": _check_training,
    "DequantizeLinear": _check_quantisation,
    "GridSample": _check_grid_sample,
    "LpPool": _check_pool,
    "MaxPool": _check_pool,
    "NonMaxSuppression": _check_nms,
    "QuantizeLinear": _check_quantisation,
    "Resize": _check_resize,
    "RoiAlign": _check_roi_align,
    "ScatterND": _check_scatter,
    "Squeeze": _check_axes,
    "TopK": _check_topk,
    "Unsqueeze": _check_axes,
    **{
        "Reduce" + name: _check_axes
        for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    },
}
