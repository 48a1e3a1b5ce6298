"""A model in another precision, checked by its average precision: what costs most goes back until little is lost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

import numpy as np

from deploy.builders.calibration import METHOD, Ranges, load_session
from deploy.builders.fp16 import cast_to_fp16, find_wide_nodes
from deploy.builders.int8 import quantise_to_int8
from deploy.builders.trunk import STAYS_FP32, Trunk, find_trunk
from deploy.engines import get_engine
from deploy.errors import PrecisionError

if TYPE_CHECKING:
    import onnx

__all__ = ["CONVERSIONS", "Calibration", "Conversion", "convert_model", "list_groups", "rank_groups"]

FIXED_ROIS = "fixed_rois"


@dataclass(frozen=True)
class Conversion:
    """What became of a model.

    Attributes:
        ap, ap_fp32, drop: average precision of the converted model, of its source, and how much less the former is.
        groups: of layers (those that share weights) that compute in the new precision, counted.
        put_back: groups, by the name of their weights, that went back because they cost most; worst first.
        rest: the precision of those and of all other layers: "fp16" for INT8 on TensorRT, where their values allow it,
            else "fp32".
        tried: how many groups were put back at each attempt, and the drop that was left.
        calibration, images: how ranges were found, and on how many listed images (the unreadable are left out).
    """

    precision: str
    ap: float
    ap_fp32: float
    groups: int
    put_back: tuple[str, ...]
    rest: str
    tried: tuple[tuple[int, float], ...]
    calibration: str
    images: int

    @property
    def drop(self) -> float:
        return self.ap_fp32 - self.ap

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "drop": self.drop}


@dataclass(frozen=True)
class Calibration:
    """What is known of a model's features on real images.

    Attributes:
        ranges: least and greatest value of each, found on so many ``images`` by `calibrate`.
        canvases: a few network inputs to rank layers with.
    """

    ranges: Ranges
    canvases: Sequence[np.ndarray]
    images: int


@dataclass(frozen=True)
class _Source:
    """A model to convert, and all that is known of it; `rest` is as of `Conversion`."""

    model: onnx.ModelProto
    trunk: Trunk
    ranges: Ranges
    engine: str
    rest: str = "fp32"


def _build_fp16(source: _Source, groups: Sequence[str]) -> onnx.ModelProto:
    wide = find_wide_nodes(source.model, source.trunk, source.ranges)
    return cast_to_fp16(source.model, frozenset((*source.trunk.nodes_of(groups), *source.trunk.carriers)) - wide)


def _build_int8(source: _Source, groups: Sequence[str]) -> onnx.ModelProto:
    model, trunk = source.model, source.trunk
    integers = trunk.nodes_of(groups)
    if source.rest == "fp16":
        wide = find_wide_nodes(model, trunk, source.ranges)
        halves = {layer.node for layer in trunk.layers} - set(integers) - wide
        model = cast_to_fp16(model, frozenset(halves | _list_between(model, set(trunk.carriers) - wide, halves)))
    return quantise_to_int8(model, integers, source.ranges, source.engine)


def _list_between(model: onnx.ModelProto, carriers: set[str], layers: set[str]) -> set[str]:
    """Those carriers that read nothing but what these layers say, one behind the other."""
    found, features = set(), set()
    constants = {entry.name for entry in model.graph.initializer}
    for node in model.graph.node:
        inside = node.name in carriers and all(name in features or name in constants for name in node.input if name)
        if inside:
            found.add(node.name)
        if inside or node.name in layers:
            features.update(node.output)
    return found


# For each precision: what makes a model of it of some groups of layers, and whether heads' last layers are among them.
CONVERSIONS: Mapping[str, tuple[Callable[[_Source, Sequence[str]], onnx.ModelProto], bool]] = {
    "fp16": (_build_fp16, True),
    "int8": (_build_int8, False),
}


def convert_model(
    model: onnx.ModelProto,
    precision: str,
    calibration: Calibration,
    evaluate: Callable[[onnx.ModelProto], float],
    max_ap_drop: float,
    report: Callable[[str], None] = lambda line: None,
    engine: str = "trt",
    ap: float | None = None,
) -> tuple[onnx.ModelProto, Conversion]:
    """A model in another precision that loses at most `max_ap_drop` of average precision.

    Where it loses more, groups of layers are ranked by how far each alone moves what the heads say, and the worst go
    back: one, two, four and so on, until the loss is within the bound. Beside INT8 on TensorRT they and the heads' last
    layers are FP16; elsewhere FP32, because ONNX Runtime has no FP16 arithmetic on a CPU.

    Args:
        evaluate: average precision of a model. engine: what INT8 is written for. ap: the given model's, where known.

    Raises:
        PrecisionError: the loss stays above the bound with all but one group put back; it says the least loss found.
    """
    build, _ = CONVERSIONS[precision]
    rest = get_engine(engine).int8.rest if precision == "int8" else "fp32"
    source = _Source(model, find_trunk(model), calibration.ranges, engine, rest)
    groups = list_groups(source.trunk, precision, engine)
    if not groups:
        raise PrecisionError(f"the model has no layer that could be {precision}: no convolution or linear")
    if ap is None:
        report("average precision in fp32")
        ap = evaluate(model)
    before = ap
    ranked: list[str] = []
    tried: list[tuple[int, float]] = []
    count = 0
    while True:
        report(f"average precision in {precision}, {count} of {len(groups)} groups of layers put back")
        converted = build(source, [group for group in groups if group not in ranked[:count]])
        after = evaluate(converted)
        tried.append((count, before - after))
        if before - after <= max_ap_drop:
            kept = tuple(ranked[:count])
            return converted, Conversion(
                precision,
                after,
                before,
                len(groups) - count,
                kept,
                source.rest,
                tuple(tried),
                METHOD,
                calibration.images,
            )
        if count >= len(groups) - 1:
            raise PrecisionError(
                f"{precision} loses at least {min(drop for _, drop in tried):.4f} of AP {before:.4f}, more than "
                f"{max_ap_drop}: with {count} of {len(groups)} groups of layers put back; allow "
                "more with --max-ap-drop, or stay with fp32"
            )
        if not ranked:
            report(f"ranking {len(groups)} groups of layers")
            ranked = [group for group, _ in rank_groups(model, precision, calibration, engine)]
        count = min(max(1, 2 * count), len(groups) - 1)


def list_groups(trunk: Trunk, precision: str, engine: str = "trt") -> tuple[str, ...]:
    """The groups of layers that compute in a precision on an engine, in the order of the graph."""
    lacking = get_engine(engine).int8.lacking if precision == "int8" else ()
    return trunk.groups(CONVERSIONS[precision][1], lacking)


def rank_groups(
    model: onnx.ModelProto, precision: str, calibration: Calibration, engine: str = "trt"
) -> list[tuple[str, float]]:
    """Groups of layers, worst first, each with how far it alone in that precision moves the outputs of the last layers.

    That is the squared error over the squared values, a mean over layers and canvases. Regions that features are
    pooled from are those of the model as it is, so that rows are compared with rows of the same region.
    """
    build, _ = CONVERSIONS[precision]
    trunk = find_trunk(model)
    probe, rois = _fix_rois(model, trunk)
    feeds = _feed(model, rois, calibration.canvases)
    source = _Source(probe, trunk, calibration.ranges, engine)
    reference = _run(probe, feeds)
    errors = []
    for group in list_groups(trunk, precision, engine):
        found = _run(build(source, [group]), feeds)
        ratios = [
            float(np.square(one - other).sum() / max(float(np.square(one).sum()), 1e-12))
            for expected, got in zip(reference, found)
            for one, other in zip(expected, got)
        ]
        errors.append((group, float(np.mean(ratios))))
    return sorted(errors, key=lambda item: -item[1])


def _fix_rois(model: onnx.ModelProto, trunk: Trunk) -> tuple[onnx.ModelProto, Mapping[str, str]]:
    """The model whose outputs are those of the last layers and whose RoIAligns take their boxes from inputs.

    Also the tensor of the model that each such input stands for, by the input's name.
    """
    import onnx

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    rois: dict[str, str] = {}
    last = {layer.node for layer in trunk.layers if layer.is_last}
    del probe.graph.output[:]
    for node in probe.graph.node:
        if node.op_type in STAYS_FP32:
            name = f"{FIXED_ROIS}_{len(rois)}"
            rois[name] = node.input[1]
            node.input[1] = name
            probe.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        if node.name in last:
            probe.graph.output.append(onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None))
    return probe, rois


def _feed(
    model: onnx.ModelProto, rois: Mapping[str, str], canvases: Sequence[np.ndarray]
) -> list[dict[str, np.ndarray]]:
    """What the probe is fed for each canvas: the canvas, and the regions that the model finds on it."""
    import onnx

    image = model.graph.input[0].name
    if not rois:
        return [{image: canvas} for canvas in canvases]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in dict.fromkeys(rois.values())
    )
    session = load_session(copy, None)
    return [
        {image: canvas, **dict(zip(rois, session.run(list(rois.values()), {image: canvas})))} for canvas in canvases
    ]


def _run(model: onnx.ModelProto, feeds: Sequence[Mapping[str, np.ndarray]]) -> list[list[np.ndarray]]:
    session = load_session(model, None)
    return [session.run(None, dict(feed)) for feed in feeds]
