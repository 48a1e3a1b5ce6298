"""Whether a TensorRT release takes a model, by what is documented of it: offline, without TensorRT, without a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, Mapping, Sequence

import numpy as np

from deploy.builders.graph_facts import CONTROL_FLOW, GraphFacts, bodies_of, label_of
from deploy.builders.operator_rules import RULES, Problem
from deploy.builders.releases import ANY_TYPE, RELEASES, RTX, TYPE_NAMES, Release, find_release
from deploy.engines.base import check_model_file
from deploy.errors import InputError

if TYPE_CHECKING:
    import onnx

__all__ = ["BLOCKING", "SEVERITIES", "VERSIONS", "Finding", "check_model", "fits_release", "opset_of", "read_model"]

VERSIONS: tuple[str, ...] = tuple(RELEASES)
SEVERITIES: Mapping[str, str] = {
    "refused": "the parser or a layer does not take it, or computes something else",
    "dynamic": "taken, but of a size that varies; engines here are of fixed shapes",
    "unknown": "no source says whether it is taken",
    "note": "taken; something to know about it",
}
BLOCKING = ("refused", "dynamic")

STANDARD_DOMAINS = ("", "ai.onnx")
INT32 = np.iinfo(np.int32)
UINT8, INT64, DOUBLE = 2, 7, 11
# The input whose type an operator computes in, where it is not the first.
TYPED_INPUT = {"Where": 1, "OneHot": 2}
CAST = "cast to float32 before it, and back after it"
CAST_INSTEAD = {"DequantizeLinear": "quantise weights and activations to int8, and leave biases in float32"}


@dataclass(frozen=True)
class Finding:
    """One thing about one node (or input, or the whole model) and one release.

    Attributes:
        node: its name, that of its first output where it has none; of a node in the body of another, both: "a/b".
        op: its operator; "input" and "model" for what is not a node.
        severity: a key of `SEVERITIES`.
    """

    node: str
    op: str
    version: str
    reason: str
    advice: str
    severity: str = "refused"


def check_model(model: str | Path | onnx.ModelProto, version: str) -> list[Finding]:
    """What a release does not take of a model, in the order of the graph; the model is not changed.

    A finding of severity "unknown" is not an all-clear, and no finding at all is not a promise: nothing is built.

    Raises:
        InputError: no such release, or no ONNX model there; also where the `onnx` package is missing.
    """
    release = find_release(version)
    if release is None:
        known = ", ".join((*VERSIONS, RTX.version))
        raise InputError(f"no TensorRT {version!r} to check against; there are: {known}")
    if isinstance(model, (str, Path)):
        model = read_model(model)
    problems = [("", "model", problem) for problem in _check_opset(model, release)]
    _check_structure(model.graph, opset_of(model))
    model, inferred = _infer(model)
    problems.extend(("", "model", problem) for problem in inferred)
    facts = GraphFacts(model.graph)
    problems.extend(_check_borders(facts, release))
    problems.extend(_check_graph(facts, release, frozenset(function.name for function in model.functions), ""))
    problems.extend(("", "model", problem) for problem in _check_known_bad(model.graph, release))
    return [
        Finding(node, op, version, problem.reason, problem.advice, problem.severity) for node, op, problem in problems
    ]


def fits_release(findings: Sequence[Finding]) -> bool:
    """Whether none of a release's findings is in the way; an unknown is not, but is not an all-clear either."""
    return not any(finding.severity in BLOCKING for finding in findings)


def read_model(path: str | Path) -> onnx.ModelProto:
    """The model in a file, without weights that lie in other files. Raises `InputError` as `check_model` does."""
    path = check_model_file(path, "ONNX model")
    try:
        import onnx
    except ImportError as error:
        raise InputError(f"checking a model needs onnx ({error}): python3 -m pip install onnx") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's errors share no base class below Exception
        raise InputError(f"{path} is not an ONNX model, or is cut short: {error}") from error
    if not model.graph.node or not model.opset_import:
        raise InputError(f"{path} is not an ONNX model, or is cut short: it has no graph or no opset")
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """The opset of ONNX that a model is written in; 0 where it names none."""
    return max((entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS), default=0)


def _check_opset(model: onnx.ModelProto, release: Release) -> Iterator[Problem]:
    opset, low, high = opset_of(model), release.lowest_opset, release.highest_opset
    if not opset:
        yield Problem("unknown", "the model names no opset of ONNX", "export it again, with opset 17")
    elif not low <= opset <= high:
        reason = f"opset {opset}; its parser reads {low} to {high}"
        yield Problem("refused", reason, "export with opset 17, which all of these releases read")


def _infer(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[Problem]]:
    """The model with the types and shapes that can be inferred, and what could not be."""
    import onnx

    advice = "look at the model with onnx.checker"
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True), []
    except Exception as error:  # the package's errors share no base class below Exception
        reason = f"types and sizes cannot be inferred: {' '.join(str(error).split())[:160]}"
        return model, [Problem("unknown", reason, advice)]


def _check_structure(graph: onnx.GraphProto, opset: int) -> None:
    """Raises `InputError` where a node has fewer inputs than its operator; the rules rely on it."""
    import onnx

    for place, node in enumerate(graph.node):
        if node.domain in STANDARD_DOMAINS and onnx.defs.has(node.op_type) and opset:
            try:
                least = onnx.defs.get_schema(node.op_type, opset).min_input
            except onnx.defs.SchemaError:  # not yet, or no longer, an operator of this opset
                continue
            if len(node.input) < least:
                raise InputError(
                    f"not a valid ONNX model: {node.op_type} {label_of(node, place)} has {len(node.input)} of "
                    f"{least} inputs"
                )
        for _, body in bodies_of(node):
            _check_structure(body, opset)


def _check_borders(facts: GraphFacts, release: Release) -> Iterator[tuple[str, str, Problem]]:
    """Inputs and outputs of the network."""
    for kind, entries in (("input", facts.graph.input), ("output", facts.graph.output)):
        for entry in entries:
            if entry.name in facts.constants:  # old exporters list weights as inputs
                continue
            problems = list(_check_border_type(facts.types.get(entry.name, 0), kind, release))
            if kind == "input" and None in facts.shapes.get(entry.name, (None,)):
                advice = "export with fixed shapes, one file per size"
                problems.append(Problem("dynamic", "an input with a dynamic shape", advice))
            for problem in problems:
                yield entry.name, kind, problem


def _check_border_type(element_type: int, kind: str, release: Release) -> Iterator[Problem]:
    name, letter = TYPE_NAMES.get(element_type, "of unknown type"), release.letter_of(element_type)
    if not element_type:
        yield Problem("unknown", "its type is not in the file", "export it again")
    elif element_type == INT64 and not release.native_int64:
        yield Problem("note", f"int64 is cast down: the engine's {kind} is int32", "read it by its own type")
    elif element_type == UINT8 and letter not in release.network_types:
        reason = "uint8 for inputs and outputs: the changelog names it, the parser's list of types does not"
        yield Problem("unknown", reason, "feed float32")
    elif not letter or letter not in release.network_types:
        yield Problem("refused", f"{name} cannot be the type of an {kind}", "use float32, float16 or int32")


def _check_graph(
    facts: GraphFacts, release: Release, functions: frozenset[str], prefix: str
) -> Iterator[tuple[str, str, Problem]]:
    untyped = 0
    for place, node in enumerate(facts.graph.node):
        label = prefix + label_of(node, place)
        for problem in _check_node(facts, node, place, release, functions):
            yield label, node.op_type, problem
        untyped += any(name and name not in facts.types for name in node.input)
        for name, body in bodies_of(node):
            inside = f"{label}/{name}/"
            yield from _check_graph(GraphFacts(body, facts), release, functions, inside)
    if untyped:
        reason = (
            f"{untyped} of {len(facts.graph.node)} nodes read tensors whose type cannot be inferred; it was not checked"
        )
        yield prefix, "model", Problem("unknown", reason, "run onnx.shape_inference, and look where it stops")


def _check_node(
    facts: GraphFacts, node: onnx.NodeProto, place: int, release: Release, functions: frozenset[str]
) -> Iterator[Problem]:
    if node.domain not in STANDARD_DOMAINS or node.op_type in functions:
        yield from _check_foreign(node, release, functions)
        return
    types = release.operators.get(node.op_type)
    if types == "":
        yield Problem("refused", "the operator is listed as not supported", "express it by other operators")
        return
    if types is None:
        yield Problem("unknown", "no list says whether the operator is supported", "avoid it, or try it on the device")
    elif types != ANY_TYPE:
        yield from _check_types(facts, node, types, release)
    yield from _check_sizes(facts, node, place, release)
    yield from _check_large_integers(facts, node, release)
    if node.op_type in RULES:
        yield from RULES[node.op_type](facts, node, release)


def _check_foreign(node: onnx.NodeProto, release: Release, functions: frozenset[str]) -> Iterator[Problem]:
    if node.op_type in functions:
        if release.native_int64:
            yield Problem("unknown", "a function of the model, whose body was not looked into", "inline it")
        else:
            yield Problem("refused", "functions of a model are read from 9.0 on", "inline it")
    elif node.op_type in release.dropped_plugins:
        yield Problem("refused", "this plugin was removed", "use NonMaxSuppression, padded to a fixed count")
    elif node.op_type not in release.plugins:
        reason = f"no operator of ONNX ({node.domain}): taken only where a plugin of that name is registered"
        yield Problem("unknown", reason, "use operators of ONNX")


def _check_types(facts: GraphFacts, node: onnx.NodeProto, allowed: str, release: Release) -> Iterator[Problem]:
    names = [node.input[TYPED_INPUT.get(node.op_type, 0)]] if node.input else []
    if node.op_type in ("Constant", "ConstantOfShape"):
        names = [node.output[0]]
    elif node.op_type == "Cast":
        names.append(node.output[0])
    elif node.op_type in CONTROL_FLOW:
        names = list(node.output)
    for name in dict.fromkeys(names):
        element_type = facts.types.get(name, 0)
        if not name or not element_type or (element_type == DOUBLE and name in facts.static):
            continue  # a constant of float64 is cast down to float32
        letter = release.letter_of(element_type)
        if not letter or letter not in allowed:
            reason = f"{TYPE_NAMES.get(element_type, element_type)} is not among the types it is listed with"
            yield Problem("refused", reason, CAST_INSTEAD.get(node.op_type, CAST))


def _check_sizes(facts: GraphFacts, node: onnx.NodeProto, place: int, release: Release) -> Iterator[Problem]:
    if node.op_type in CONTROL_FLOW:
        yield from _check_control_flow(facts, node, release)
    elif node.op_type == "NonMaxSuppression":
        reader = facts.escapes.get(place)
        if reader is not None:
            reason = f"its rows, as many as boxes were kept, are not padded before they are read by {reader}"
            yield Problem("dynamic", reason, "concatenate K zeros and gather the first K rows right after it")
        else:
            reason = "padded at once, but counted on the device: an engine with it may not go into a CUDA graph"
            yield Problem("note", reason, "measure it against an export without NMS in the graph")
    elif node.op_type in ("NonZero", "Unique", "Compress"):
        yield Problem("dynamic", "as many outputs as the data has", "use Where with a mask, or TopK of a fixed count")
    elif facts.free_inputs(node):
        yield Problem("dynamic", "a size that is computed from the data", "make it a constant of the export")


def _check_control_flow(facts: GraphFacts, node: onnx.NodeProto, release: Release) -> Iterator[Problem]:
    branches = [[_sides_of(output) for output in body.output] for _, body in bodies_of(node)]
    if node.op_type == "If" and any(_differ(one, other, release) for one, other in zip(*branches)):
        reason = f"its branches end in different {'ranks' if release.native_int64 else 'shapes'}"
        yield Problem("refused", reason, "export without branches on data")
    else:
        yield Problem("dynamic", "which nodes run depends on the data", "export without branches and loops on data")


def _differ(one: list[int] | None, other: list[int] | None, release: Release) -> bool:
    """Whether a release cannot join the outputs of two branches: by rank, on 8.6 by every size (0: not known)."""
    if one is None or other is None:
        return False
    if len(one) != len(other):
        return True
    return not release.native_int64 and any(a and b and a != b and 1 not in (a, b) for a, b in zip(one, other))


def _sides_of(entry: onnx.ValueInfoProto) -> list[int] | None:
    known = entry.type.HasField("tensor_type") and entry.type.tensor_type.HasField("shape")
    return [side.dim_value for side in entry.type.tensor_type.shape.dim] if known else None


def _check_large_integers(facts: GraphFacts, node: onnx.NodeProto, release: Release) -> Iterator[Problem]:
    """int64 constants that do not survive the cast to int32, where that matters: an end or a count may be huge."""
    if release.native_int64 or node.op_type in ("Slice", "NonMaxSuppression"):
        return
    for name in node.input:
        if name in facts.constants and facts.types[name] == INT64:
            value = facts.value_of(name)
            if value is not None and value.size and (value.min() < INT32.min or value.max() > INT32.max):
                yield Problem("refused", "an int64 constant beyond int32, which is clamped", "keep it within int32")


def _check_known_bad(graph: onnx.GraphProto, release: Release) -> Iterator[Problem]:
    found = {node.op_type for node in graph.node}
    if release.version == "10.3" and "DequantizeLinear" in found and found & {"TopK", "NonMaxSuppression"}:
        reason = "users report that building INT8 graphs with TopK or NMS in them fails on JetPack 6 with 10.3.0"
        yield Problem("unknown", reason, "have an export without NMS in the graph at hand")
