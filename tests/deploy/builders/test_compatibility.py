"""The compatibility check, a rule at a time: a graph that breaks it, and beside it one that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_graphs import (
    batch_norm,
    branches,
    constant_added,
    foreign,
    function,
    grid_sample,
    huge_end,
    input_of,
    ints,
    loop,
    nms,
    one_node,
    opset,
    pool,
    quantised,
    quantised_topk,
    reshape,
    reshape_by_shape,
    resize,
    roi_align,
    scan,
    scatter,
    slice_to,
    squeeze,
    topk,
    topk_by,
    two_inputs,
    unrolled,
    where,
)

from deploy.builders.compatibility import SEVERITIES, VERSIONS, Finding, check_model, fits_release
from deploy.errors import InputError

F32, F16, F64, BF16 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16
I8, U8, I32, I64, BOOL = TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL
MakeModel = Callable[..., onnx.ModelProto]
node = helper.make_node
FROM_10 = ("10.3", "10.16", "11.4")


@dataclass(frozen=True)
class Case:
    """`bad` has a finding of the severity with these words at "n" (or the whole model), on `versions` alone."""

    id: str
    bad: Callable[..., object]
    good: Callable[..., object]
    words: str
    versions: tuple[str, ...] = VERSIONS
    severity: str = "refused"


zero8 = np.array(0, np.int8)
min_of_shape = [node("Shape", ["x"], ["k"], "shape")]
# fmt: off
CASES = [
    Case("opset too high for 8.6", opset(18), opset(17), "opset 18; its parser reads 7 to 17", ("8.6",)),
    Case("opset too high for 10.3", opset(21), opset(17), "opset 21", ("8.6", "10.3")),
    Case("opset too low since 10", opset(8), opset(9), "opset 8; its parser reads 9 to", FROM_10),
    Case("operator not supported", one_node("Det"), one_node("Relu"), "listed as not supported",
         ("8.6", "10.3", "10.16")),
    Case("operator that may have come since", one_node("Det"), one_node("Relu"), "no list says", ("11.4",),
         "unknown"),
    Case("operator no list mentions", one_node("Bartok"), one_node("Relu"), "no list says", VERSIONS, "unknown"),
    Case("bool compared", two_inputs("Equal", BOOL, BOOL), two_inputs("Equal", I32, BOOL), "bool is not among"),
    Case("double computed with", two_inputs("Add", F64, F64), two_inputs("Add", F32, F32), "float64 is not among"),
    Case("integers raised to a power", two_inputs("Pow", I64, I64), two_inputs("Pow", F32, F32), "is not among",
         ("8.6", "10.3")),
    Case("bfloat16 before 9.0", one_node("Relu", BF16), one_node("Relu", F16), "bfloat16 is not among", ("8.6",)),
    Case("matrices of integers", two_inputs("MatMul", I32, I32), two_inputs("MatMul", F32, F32), "int32 is not among"),
    Case("TopK too large", topk(3841), topk(3839), "K is 3841; it takes at most 3840"),
    Case("TopK at the limit", topk(3840), topk(3839), "one document says", VERSIONS, "unknown"),
    Case("TopK not sorted", topk(5, sorted=0), topk(5, sorted=1), "sorted is 0", FROM_10),
    Case("TopK not sorted on 8.6", topk(5, sorted=0), topk(5), "sorted is 0", ("8.6",), "unknown"),
    Case("TopK of a computed count", topk_by([], {"k": (I64, [1])}), topk(5), "computed from the data", VERSIONS,
         "dynamic"),
    Case("TopK of a count computed from sizes", topk_by(min_of_shape, {}), topk(5), "was not checked", VERSIONS,
         "unknown"),
    Case("NonZero", one_node("NonZero", F32, I64), one_node("Relu"), "as many outputs as the data has", VERSIONS,
         "dynamic"),
    Case("Reshape by data", reshape(False), reshape(True), "computed from the data", VERSIONS, "dynamic"),
    Case("Slice by data", slice_to(False), slice_to(True), "computed from the data", VERSIONS, "dynamic"),
    Case("the shape of what NonZero found", reshape_by_shape(True), reshape_by_shape(False), "computed from the data",
         VERSIONS, "dynamic"),
    Case("axes by data", squeeze(False), squeeze(True), "axes are not a constant"),
    Case("If", branches([16], [16]), where, "which nodes run depends on the data", VERSIONS, "dynamic"),
    Case("If of two ranks", branches([16], [4, 4]), where, "its branches end in different"),
    Case("If of two sizes", branches([2, 8], [4, 4]), where, "different shapes", ("8.6",)),
    Case("Loop", loop, unrolled, "which nodes run depends on the data", VERSIONS, "dynamic"),
    Case("Scan", scan, unrolled, "which nodes run depends on the data", VERSIONS, "dynamic"),
    Case("NMS not padded", nms(0, 0), nms(9, 9), "read by Relu reader", VERSIONS, "dynamic"),
    Case("NMS to the output", nms(9, 0), nms(9, 9), "read by the output y", VERSIONS, "dynamic"),
    Case("NMS padded too little", nms(8, 9), nms(9, 9), "Gather reader, which needs 9 rows", VERSIONS, "dynamic"),
    Case("NMS and TopK of too much", nms(8, 9, "TopK"), nms(9, 9, "TopK"), "TopK reader, which needs 9 rows", VERSIONS,
         "dynamic"),
    Case("NMS cut off without padding", nms(0, 9, "Slice"), nms(9, 9, "Slice"), "Slice reader, which needs 9 rows",
         VERSIONS, "dynamic"),
    Case("NMS of many candidates", nms(9, 9, boxes=5001), nms(9, 9, boxes=5000), "5001 candidates", VERSIONS, "note"),
    Case("input of free size", input_of(F32, ["batch", 3]), input_of(F32, [1, 3]), "input with a dynamic shape",
         VERSIONS, "dynamic"),
    Case("input of double", input_of(F64, [4]), input_of(F32, [4]), "float64 cannot be the type of an input"),
    Case("input of int16", input_of(TensorProto.INT16, [4]), input_of(I32, [4]), "int16 cannot be the type of"),
    Case("input of int64", input_of(I64, [4]), input_of(I32, [4]), "the engine's input is int32", ("8.6",), "note"),
    Case("input of uint8", input_of(U8, [4]), input_of(F32, [4]), "the parser's list of types does not", ("8.6",),
         "unknown"),
    Case("RoiAlign in other coordinates", roi_align(coordinate_transformation_mode="corners"),
         roi_align(coordinate_transformation_mode="output_half_pixel"), "coordinate_transformation_mode corners"),
    Case("RoiAlign in another mode", roi_align(mode="sum"), roi_align(mode="max"), "mode sum; it knows avg and max"),
    Case("RoiAlign without a ratio", roi_align(sampling_ratio=None), roi_align(sampling_ratio=0), "the parser reads 1",
         ("10.16",)),
    Case("RoiAlign without a ratio elsewhere", roi_align(sampling_ratio=None), roi_align(), "the parser reads 1",
         ("8.6", "10.3", "11.4"), "unknown"),
    Case("GridSample of volumes", grid_sample(4, 5, 6), grid_sample(5, 6), "samples from 5 dimensions; its layer"),
    Case("Resize in other coordinates", resize(coordinate_transformation_mode="tf_crop_and_resize"),
         resize(coordinate_transformation_mode="asymmetric"), "coordinate_transformation_mode tf_crop_and_resize"),
    Case("Resize cubic", resize(mode="cubic"), resize(mode="linear"), "cubic: the parser reads it", VERSIONS,
         "unknown"),
    Case("Resize with antialiasing", resize(18, mode="linear", antialias=1), resize(18, mode="linear"), "antialias 1"),
    Case("Resize that keeps proportions", resize(18, keep_aspect_ratio_policy="not_larger"), resize(18),
         "keep_aspect_ratio_policy not_larger"),
    Case("MaxPool with dilation", pool(dilations=[2, 2]), pool(dilations=[1, 1]), "dilations [2, 2]"),
    Case("MaxPool with indices", pool(2), pool(1), "output of indices"),
    Case("AveragePool with dilation", pool(1, "AveragePool", 19, dilations=[2, 2]), pool(1, "AveragePool", 19),
         "dilations [2, 2]"),
    Case("zero point other than 0", quantised(np.array(3, np.int8)), quantised(zero8), "zero point is not 0"),
    Case("quantised to uint8", quantised(np.array(0, np.uint8)), quantised(zero8), "quantises to uint8"),
    Case("quantised without a zero point", quantised(None), quantised(zero8), "quantises to uint8"),
    Case("a bias in int32", quantised(None, np.ones(4, np.int32)), quantised(None, np.ones(4, np.int8)),
         "int32 is not among"),
    Case("scattered sums", scatter(reduction="add"), scatter(), "reduction add"),
    Case("normalisation that trains", batch_norm(1), batch_norm(0), "training mode"),
    Case("integers beyond int32", constant_added(2**40), constant_added(2**20), "beyond int32", ("8.6",)),
    Case("integers beyond int32 that may be", constant_added(-(2**40)), huge_end, "beyond int32", ("8.6",)),
    Case("a plugin nobody knows", foreign("Fancy"), one_node("Relu"), "a plugin of that name", VERSIONS, "unknown"),
    Case("a plugin that may be gone", foreign("EfficientNMS_TRT"), one_node("Relu"), "a plugin of that name",
         ("11.4",), "unknown"),
    Case("a plugin that was removed", foreign("EfficientNMS_ONNX_TRT"), one_node("Relu"), "was removed",
         ("10.16", "11.4")),
    Case("functions before 9.0", function, unrolled, "functions of a model are read from 9.0 on", ("8.6",)),
    Case("functions since", function, unrolled, "body was not looked into", FROM_10, "unknown"),
    Case("INT8 with TopK on 10.3", quantised_topk(True), quantised_topk(False), "users report", ("10.3",), "unknown"),
]
# fmt: on


def matching(case: Case, model: onnx.ModelProto, version: str) -> list[Finding]:
    return [
        finding
        for finding in check_model(model, version)
        if finding.severity == case.severity and case.words in finding.reason and finding.node in ("n", "")
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_rule_finds_what_breaks_it_and_nothing_else(case: Case, make_model: MakeModel) -> None:
    bad, good = case.bad(make_model), case.good(make_model)
    known = [version for version in VERSIONS if version in case.versions]
    assert [version for version in VERSIONS if matching(case, bad, version)] == known
    for version in known:
        assert matching(case, good, version) == []
        (finding,) = {(f.version, f.severity) for f in matching(case, bad, version)}
        assert finding == (version, case.severity)
        if case.severity in ("refused", "dynamic"):
            assert not fits_release(check_model(bad, version))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_finding_says_what_to_do(case: Case, make_model: MakeModel) -> None:
    for version in VERSIONS:
        for finding in check_model(case.bad(make_model), version):
            assert finding.reason and finding.advice and finding.severity in SEVERITIES and finding.version == version


def test_a_padded_nms_fits_and_is_noted(make_model: MakeModel) -> None:
    for version in VERSIONS:
        findings = check_model(nms(9, 9)(make_model), version)
        assert fits_release(findings)
        assert [(finding.severity, finding.op) for finding in findings] == [("note", "NonMaxSuppression")]


def test_padded_rows_may_be_picked_in_an_order_that_was_computed(make_model: MakeModel) -> None:
    """Scores by TopK, labels in the same order: as our graph ends."""
    nodes = [
        node("NonMaxSuppression", ["boxes", "scores", "most"], ["kept"], "n"),
        node("Gather", ["kept", "column"], ["rows"], axis=1),
        node("Gather", ["flat", "rows"], ["found"]),
        node("Concat", ["found", "low"], ["padded"], axis=0),
        node("TopK", ["padded", "nine"], ["best", "order"]),
        node("Concat", ["rows", "zeros"], ["labels"], axis=0),
        node("Gather", ["labels", "order"], ["y"]),
    ]
    constants = {"most": ints(9), "column": np.array(2), "low": np.full(9, -1, np.float32), "nine": ints(9),
                 "zeros": np.zeros(9, np.int64)}  # fmt: skip
    inputs = {"boxes": (F32, [1, 60, 4]), "scores": (F32, [1, 1, 60]), "flat": (F32, [60])}
    model = make_model(nodes, inputs, {"best": (F32, [9]), "y": (I64, [9])}, constants)
    for version in VERSIONS:
        assert fits_release(check_model(model, version))


def test_rows_read_inside_of_a_branch_are_seen(make_model: MakeModel) -> None:
    branch = {
        f"{name}_branch": helper.make_graph(
            [node("ReduceMax", ["found"], [name], f"max_{name}", keepdims=0)], name, [],
            [helper.make_tensor_value_info(name, F32, [])],
        )
        for name in ("then", "else")
    }  # fmt: skip
    nodes = [
        node("NonMaxSuppression", ["boxes", "scores", "most"], ["kept"], "n"),
        node("Gather", ["kept", "column"], ["rows"], axis=1),
        node("Gather", ["flat", "rows"], ["found"]),
        node("If", ["c"], ["y"], "choice", **branch),
    ]
    inputs = {"boxes": (F32, [1, 60, 4]), "scores": (F32, [1, 1, 60]), "flat": (F32, [60]), "c": (BOOL, [])}
    model = make_model(nodes, inputs, {"y": (F32, [])}, {"most": ints(9), "column": np.array(2)})
    (found,) = [finding for finding in check_model(model, "10.3") if finding.op == "NonMaxSuppression"]
    assert found.severity == "dynamic" and "If choice" in found.reason


def test_a_node_inside_of_a_branch_is_named_with_it(make_model: MakeModel) -> None:
    branch = {
        f"{name}_branch": helper.make_graph(
            [node("Det", ["x"], [name], f"det_{name}")], name, [], [helper.make_tensor_value_info(name, F32, [])]
        )
        for name in ("then", "else")
    }
    model = make_model([node("If", ["c"], ["y"], "n", **branch)], {"x": (F32, [3, 3]), "c": (BOOL, [])},
                       {"y": (F32, [])})  # fmt: skip
    names = {finding.node for finding in check_model(model, "8.6") if finding.op == "Det"}
    assert names == {"n/then_branch/det_then", "n/else_branch/det_else"}


def test_a_node_without_a_name_goes_by_its_output(make_model: MakeModel) -> None:
    model = make_model([node("NonZero", ["x"], ["where"])], {"x": (F32, [4])}, {"where": (I64, [1, None])})
    assert [finding.node for finding in check_model(model, "10.16")] == ["where"]


def test_a_double_that_is_a_constant_is_cast_down_and_passes(make_model: MakeModel) -> None:
    nodes = [node("Cast", ["c"], ["f"], "n", to=F32), node("Add", ["x", "f"], ["y"])]
    model = make_model(nodes, {"x": (F32, [1])}, {"y": (F32, [1])}, {"c": np.array([0.5])})
    assert [check_model(model, version) for version in VERSIONS] == [[], [], [], []]


def test_what_follows_an_unknown_operator_is_said_to_be_unchecked(make_model: MakeModel) -> None:
    nodes = [node("Fancy", ["x"], ["t"], "n", domain="mine"), node("Relu", ["t"], ["y"], "after")]
    model = make_model(nodes, {"x": (F32, [2])}, {"y": (F32, [2])})
    reasons = [finding.reason for finding in check_model(model, "10.3") if finding.severity == "unknown"]
    assert any("1 of 2 nodes read tensors whose type cannot be inferred" in reason for reason in reasons)


def test_checking_does_not_change_the_model(make_model: MakeModel) -> None:
    model = nms(9, 9)(make_model)
    before = model.SerializeToString(deterministic=True)
    check_model(model, "8.6")
    assert model.SerializeToString(deterministic=True) == before


def test_weights_in_another_file_are_not_needed(make_model: MakeModel, tmp_path: Path) -> None:
    weights = {"w": np.ones((8, 3, 3, 3), np.float32)}
    model = make_model([node("Conv", ["x", "w"], ["y"])], {"x": (F32, [1, 3, 8, 8])}, {"y": (F32, [1, 8, 6, 6])},
                       weights)  # fmt: skip
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    (tmp_path / "weights").unlink()
    assert check_model(path, "10.16") == []


def test_an_unknown_release_is_refused_with_those_there_are(make_model: MakeModel) -> None:
    with pytest.raises(InputError, match=r"no TensorRT '9.0' .* there are: 8.6, 10.3, 10.16, 11.4"):
        check_model(unrolled(make_model), "9.0")


def test_a_node_with_too_few_inputs_is_no_model(make_model: MakeModel) -> None:
    model = make_model([node("Where", ["c"], ["y"], "n")], {"c": (BOOL, [1])}, {"y": (F32, [1])})
    with pytest.raises(InputError, match="Where n has 1 of 3 inputs"):
        check_model(model, "8.6")


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x08", b"\xff" * 64])
def test_what_is_no_model_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.onnx"):
        check_model(tmp_path / "bad.onnx", "8.6")


def test_a_file_cut_short_anywhere_is_refused(make_model: MakeModel, tmp_path: Path) -> None:
    whole = nms(9, 9)(make_model).SerializeToString()
    for length in range(0, len(whole), 7):
        (tmp_path / "cut.onnx").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut\.onnx"):
            check_model(tmp_path / "cut.onnx", "8.6")
