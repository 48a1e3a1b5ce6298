"""Other precisions: what is converted, what stays FP32, and what goes back when it costs too much."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy.builders.calibration import calibrate, calibrate_once, key_calibration, load_session
from deploy.builders.compatibility import VERSIONS, check_model, fits_release
from deploy.builders.fp16 import cast_to_fp16, find_wide_nodes
from deploy.builders.int8 import quantise_to_int8
from deploy.builders.precision import CONVERSIONS, Calibration, _Source, convert_model, list_groups, rank_groups
from deploy.builders.trunk import find_trunk
from deploy.errors import InputError, PrecisionError

HALF, FULL = TensorProto.FLOAT16, TensorProto.FLOAT
FP32_OPS = ("NonMaxSuppression", "TopK", "Softmax", "RoiAlign", "GridSample", "Exp", "Div", "Where")


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    known = {entry.name: entry.data_type for entry in graph.initializer}
    for entry in (*graph.input, *graph.value_info, *graph.output):
        known[entry.name] = entry.type.tensor_type.elem_type
    return known


def canvases_for(model: onnx.ModelProto, count: int = 2) -> list[np.ndarray]:
    shape = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for _ in range(count)]


def chain(gains: tuple[float, ...] = (1.0, 1.0, 1.0)) -> onnx.ModelProto:
    """Convolutions of 4 channels one after the other, a Relu between; the last one is the head's."""
    rng = np.random.default_rng(1)
    nodes, constants, name = [], [], "images"
    for index, gain in enumerate(gains):
        channels = 3 if index == 0 else 4
        weights = (gain * rng.normal(0, 0.3, (4, channels, 3, 3))).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, f"w{index}"))
        nodes.append(helper.make_node("Conv", [name, f"w{index}"], [f"c{index}"], f"conv{index}", pads=[1] * 4))
        name = f"c{index}"
        if index + 1 < len(gains):
            nodes.append(helper.make_node("Relu", [name], [f"r{index}"], f"relu{index}"))
            name = f"r{index}"
    nodes.append(helper.make_node("Softmax", [name], ["scores"], "softmax", axis=1))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("images", FULL, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("scores", FULL, [1, 4, 8, 8])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto, canvas: np.ndarray) -> list[np.ndarray]:
    return load_session(model, 1).run(None, {model.graph.input[0].name: canvas})


def test_the_last_layers_are_those_that_the_post_processing_reads(exported: Path) -> None:
    trunk = find_trunk(onnx.load(exported))
    last = {layer.group.split(".")[-2] for layer in trunk.layers if layer.is_last}
    rpn_and_box = {"cls_logits", "bbox_pred", "cls_score"}
    wanted = {"faster_rcnn": rpn_and_box, "retinanet": {"cls_logits", "bbox_reg"}, "centernet": {"2"}}
    assert last == wanted[exported.stem.partition("-")[0]]
    assert len(trunk.groups(True)) > len(trunk.groups(False)) > 5


@pytest.mark.parametrize("precision", CONVERSIONS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_conversion_of_every_detector_fits_every_release(exported: Path, precision: str, version: str) -> None:
    model = onnx.load(exported)
    trunk = find_trunk(model)
    ranges = calibrate(model, trunk, canvases_for(model), 1)
    converted, _ = convert_model(model, precision, Calibration(ranges, [], 2), lambda candidate: 0.5, 0.01)
    onnx.checker.check_model(converted, full_check=True)
    assert fits_release(check_model(converted, version))
    assert [entry.name for entry in converted.graph.output] == [entry.name for entry in model.graph.output]


def test_fp16_keeps_borders_and_post_processing_in_fp32(exported: Path) -> None:
    model = onnx.load(exported)
    trunk = find_trunk(model)
    nodes = frozenset((*trunk.nodes_of(trunk.groups(True)), *trunk.carriers))
    converted = cast_to_fp16(model, nodes)
    types = types_of(converted)
    assert {entry.name: types[entry.name] for entry in converted.graph.input} == {"images": FULL}
    before = types_of(model)
    assert all(types[entry.name] == before[entry.name] for entry in converted.graph.output)
    layers = [node for node in converted.graph.node if node.op_type in ("Conv", "Gemm")]
    assert layers and all(types[name] == HALF for node in layers for name in node.input)
    for node in converted.graph.node:
        if node.op_type in FP32_OPS:
            assert HALF not in [types[name] for name in (*node.input, *node.output) if name], node.name
    assert run(converted, canvases_for(model)[0])[0].dtype == np.float32
    assert len(converted.SerializeToString()) < 0.75 * len(model.SerializeToString())


def test_fp16_stays_close() -> None:
    model = chain()
    canvas = canvases_for(model)[0]
    trunk = find_trunk(model)
    converted = cast_to_fp16(model, frozenset((*trunk.nodes_of(trunk.groups(True)), *trunk.carriers)))
    difference = np.abs(run(converted, canvas)[0] - run(model, canvas)[0]).max()
    assert 0 < difference < 5e-3


def test_layers_whose_values_are_wide_stay_in_fp32() -> None:
    model = chain((1.0, 3e4, 1e-4))
    ranges = calibrate(model, find_trunk(model), canvases_for(model), 1)
    assert find_wide_nodes(model, find_trunk(model), ranges) == {"conv1", "relu1", "conv2"}
    converted, conversion = convert_model(model, "fp16", Calibration(ranges, [], 2), lambda candidate: 0.5, 0.01)
    types = types_of(converted)
    inputs = {node.name: types[node.input[0]] for node in converted.graph.node if node.op_type == "Conv"}
    assert inputs == {"conv0": HALF, "conv1": FULL, "conv2": FULL}
    assert conversion.drop == 0


def test_an_average_precision_that_is_known_is_not_found_again() -> None:
    model = chain()
    ranges = calibrate(model, find_trunk(model), canvases_for(model), 1)
    found: list[onnx.ModelProto] = []

    def judge(candidate: onnx.ModelProto) -> float:
        found.append(candidate)
        return 0.5

    calibration = Calibration(ranges, [], 2)
    _, conversion = convert_model(model, "fp16", calibration, judge, 0.01, ap=0.505)
    assert len(found) == 1 and found[0] is not model, "the converted one alone"
    assert conversion.drop == pytest.approx(0.005)


def test_int8_is_symmetric_and_leaves_the_last_layer_out() -> None:
    model = chain()
    trunk = find_trunk(model)
    ranges = calibrate(model, trunk, canvases_for(model), 1)
    converted = quantise_to_int8(model, trunk.nodes_of(trunk.groups(False)), ranges)
    constants = {entry.name: numpy_helper.to_array(entry) for entry in converted.graph.initializer}
    zeros = [constants[node.input[2]] for node in converted.graph.node if node.op_type == "QuantizeLinear"]
    assert zeros and all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    assert constants["w2"].dtype == np.float32 and "w0" not in constants
    canvas = canvases_for(model)[0]
    assert 0 < np.abs(run(converted, canvas)[0] - run(model, canvas)[0]).max() < 0.1


def test_int8_for_onnx_runtime_is_computed_by_more_of_its_integer_kernels(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    trunk = find_trunk(model)
    layers = trunk.nodes_of(list_groups(trunk, "int8", "ort"))
    ranges = calibrate(model, trunk, canvases_for(model), 1)
    counts = {}
    for engine in ("ort", "trt"):
        converted = quantise_to_int8(model, layers, ranges, engine)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / f"{engine}.onnx")
        onnxruntime.InferenceSession(converted.SerializeToString(), options, providers=["CPUExecutionProvider"])
        kinds = [node.op_type for node in onnx.load(tmp_path / f"{engine}.onnx").graph.node]
        counts[engine] = kinds.count("QLinearConv") + kinds.count("QGemm")
    assert counts["ort"] == len(layers) > counts["trt"]


def test_a_calibration_is_of_these_images_and_this_model(tmp_path: Path) -> None:
    model, one, two = tmp_path / "model.onnx", tmp_path / "one.png", tmp_path / "two.png"
    for path, content in ((model, b"m"), (one, b"1"), (two, b"2")):
        path.write_bytes(content)
    keys = [key_calibration(model, [one, two], {"width": 64}), key_calibration(model, [two, one], {"width": 64})]
    keys += [key_calibration(model, [one], {"width": 64}), key_calibration(model, [one, two], {"width": 32})]
    assert key_calibration(model, [one, two], {"width": 64}) == keys[0]
    two.write_bytes(b"another picture")
    keys.append(key_calibration(model, [one, two], {"width": 64}))
    model.write_bytes(b"another model")
    keys.append(key_calibration(model, [one, two], {"width": 64}))
    assert len(set(keys)) == 6


def test_ranges_are_used_again_for_their_key_alone(tmp_path: Path) -> None:
    model = chain()
    trunk = find_trunk(model)
    canvas = canvases_for(model)[0]
    found = calibrate_once(tmp_path, "one", model, trunk, [canvas], 1)
    assert found["images"] == (pytest.approx(canvas.min()), pytest.approx(canvas.max()))
    assert calibrate_once(tmp_path, "one", model, trunk, [], 1) == found, "no image was needed"
    assert calibrate_once(tmp_path, "two", model, trunk, [2 * canvas], 1) != found
    (tmp_path / "one.json").write_text("damaged")
    assert calibrate_once(tmp_path, "one", model, trunk, [canvas], 1) == found


@pytest.mark.parametrize("change", [{}, {"images": [1, 0]}, {"images": "01"}, {"images": [0, 10**390]}, {"images": 3}])
def test_ranges_that_cannot_be_are_found_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    """Others may have written the file, and it has the right key."""
    model = chain()
    trunk, canvas = find_trunk(model), canvases_for(model)[0]
    found = calibrate_once(tmp_path, "one", model, trunk, [canvas], 1)
    content = json.loads((tmp_path / "one.json").read_text())
    content["ranges"] = {**content["ranges"], **change} if change else {}
    (tmp_path / "one.json").write_text(json.dumps(content))
    assert calibrate_once(tmp_path, "one", model, trunk, [canvas], 1) == found


def test_calibrating_without_images_is_refused() -> None:
    model = chain()
    with pytest.raises(InputError, match="no image to calibrate with"):
        calibrate(model, find_trunk(model), [], 1)


def spoilt_case() -> tuple[onnx.ModelProto, dict[str, tuple[float, float]], list[np.ndarray]]:
    """A chain whose second layer was calibrated far too wide, so that int8 has no level left for what it reads."""
    model = chain((1.0, 1.0, 1.0, 1.0))
    canvases = canvases_for(model)
    ranges = dict(calibrate(model, find_trunk(model), canvases, 1))
    ranges["c1"] = ranges["r0"] = (-5000.0, 5000.0)
    return model, ranges, canvases


def agree(model: onnx.ModelProto, canvases: list[np.ndarray], candidate: onnx.ModelProto) -> float:
    """1 where a model says what another says, less by how far it is off: stands for an average precision."""
    return 1 - float(np.mean([np.abs(run(candidate, canvas)[0] - run(model, canvas)[0]).max() for canvas in canvases]))


@pytest.mark.parametrize("engine", ["ort", "trt"])
def test_the_layer_that_costs_most_goes_back_and_the_rest_stays(engine: str) -> None:
    model, ranges, canvases = spoilt_case()
    assert rank_groups(model, "int8", Calibration(ranges, canvases, 2))[0][0] == "w1"
    tried: list[str] = []
    judge, rest = partial(agree, model, canvases), {"trt": "fp16", "ort": "fp32"}[engine]
    known = Calibration(ranges, canvases, 2)
    converted, conversion = convert_model(model, "int8", known, judge, 0.2, tried.append, engine)
    assert conversion.put_back[0] == "w1" and conversion.groups == 3 - len(conversion.put_back) >= 1
    assert conversion.rest == rest
    assert conversion.tried[0][1] > 0.2 >= conversion.drop and conversion.tried[-1][1] == conversion.drop
    assert any("ranking 3 groups" in line for line in tried)
    types = {entry.name: entry.data_type for entry in converted.graph.initializer}
    expected = {"w1_fp16": HALF, "w3_fp16": HALF} if rest == "fp16" else {"w1": FULL, "w3": FULL}
    assert {name: types.get(name) for name in expected} == expected, "w3 is the head's"


def test_what_lies_between_layers_that_went_back_is_fp16_beside_int8() -> None:
    model = chain((1.0, 1.0, 1.0, 1.0))
    trunk = find_trunk(model)
    ranges = calibrate(model, trunk, canvases_for(model), 1)
    build, _ = CONVERSIONS["int8"]
    converted = build(_Source(model, trunk, ranges, "trt", "fp16"), ["w0"])
    types = types_of(converted)
    read = {node.name: types[node.input[0]] for node in converted.graph.node if node.op_type in ("Conv", "Relu")}
    assert read == {"conv0": FULL, "relu0": FULL} | dict.fromkeys(("conv1", "relu1", "conv2", "relu2", "conv3"), HALF)
    canvas = canvases_for(model)[0]
    assert 0 < np.abs(run(converted, canvas)[0] - run(model, canvas)[0]).max() < 0.1
    wide = types_of(build(_Source(model, trunk, {**ranges, "r1": (0.0, 2e4)}, "trt", "fp16"), ["w0"]))
    assert "c1_fp16" in wide and not {"r1_fp16", "c2_fp16"} & set(wide), "who writes or reads what is wide is FP32"


def test_a_loss_that_stays_is_refused_with_its_figure() -> None:
    model, ranges, canvases = spoilt_case()

    def judge(candidate: onnx.ModelProto) -> float:
        return 0.5 if candidate is model else 0.25

    with pytest.raises(PrecisionError, match=r"loses at least 0\.2500 of AP 0\.5000, more than 0\.01: with 2 of 3"):
        convert_model(model, "int8", Calibration(ranges, canvases, 2), judge, 0.01)
