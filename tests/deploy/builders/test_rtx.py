"""NVIDIA's own builder, which needs no GPU: what it makes of every export that a target may ask for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from narrow import narrow_path, put_head
from onnx import TensorProto, helper

from deploy import Bundle
from deploy.builders.calibration import calibrate
from deploy.builders.compatibility import VERSIONS, check_model, fits_release
from deploy.builders.precision import Calibration, convert_model
from deploy.builders.releases import RTX
from deploy.builders.trunk import find_trunk
from deploy.builders.turing import TURING, rewrite_products
from deploy.child import ask_child
from deploy.engines.tensorrt_library import RTX as LIBRARY
from deploy.engines.tensorrt_library import import_library
from deploy.errors import BuildError, DeployError, EngineError, InputError

Command = Callable[..., tuple[int, str, str]]
README = Path(__file__).resolve().parents[3] / "deploy" / "README.md"
PARTS = Path(__file__).resolve().parents[2] / "parts"
DETECTORS = {"faster_rcnn": "Faster R-CNN", "retinanet": "RetinaNet", "centernet": "CenterNet"}
NMS = ("matrix", "op", "raw")
ROI_ALIGN = ("grid", "op")
PRECISIONS = ("fp32", "fp16", "int8")
AMPERE_TO_BLACKWELL = ("8.6", "8.9", "12.0")


@pytest.fixture(scope="session")
def library() -> Any:
    """The real thing, or a skip that says what is missing."""
    try:
        return import_library(LIBRARY)
    except EngineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a small ResNet18 of a detector in a variant and a precision, once."""
    from deploy.export import export_onnx
    from optimizer.arch import BlockSpec, ResNetSpec, StageSpec
    from optimizer.detectors import build_detector

    blocks = [(BlockSpec((16, 16), 1 if stage == 0 else 2, projection=stage > 0), BlockSpec((16, 16), 1, False))
              for stage in range(4)]  # fmt: skip
    body = ResNetSpec(tuple(StageSpec(stage) for stage in blocks), stem_width=16)
    folder = tmp_path_factory.mktemp("rtx")

    def write(detector: str, nms: str, roi_align: str, precision: str) -> Path:
        path = folder / f"{detector}-{nms}-{roi_align}-{precision}.onnx"
        if path.is_file():
            return path
        if precision == "fp32":
            arch = put_head(detector, body, (130, 98))
            model = build_detector(arch, num_classes=4, seed=0)
            pooled = "op" if roi_align == "none" else roi_align
            export_onnx(model, arch.input_size, path, nms=nms, roi_align=pooled)
            return path
        source = onnx.load(write(detector, nms, roi_align, "fp32"))
        shape = [side.dim_value for side in source.graph.input[0].type.tensor_type.shape.dim]
        canvas = np.random.default_rng(0).standard_normal(shape, np.float32)
        ranges = calibrate(source, find_trunk(source), [canvas], 1)
        converted, _ = convert_model(
            source, precision, Calibration(ranges, [canvas], 1), lambda model: 1.0, 1.0, engine="trt-rtx"
        )
        onnx.save(converted, path)
        return path

    return write


@pytest.fixture(scope="session")
def centernet_int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CenterNet R18 in INT8 as it is written for TensorRT: Q/DQ pairs, the heads' last layers in FP16."""
    from deploy.export import export_onnx
    from optimizer.arch.families import base_arch
    from optimizer.detectors import build_detector

    path = tmp_path_factory.mktemp("centernet") / "int8.onnx"
    arch = base_arch("r18", (256, 192), "centernet")
    export_onnx(build_detector(arch, num_classes=3, seed=0), arch.input_size, path)
    source = onnx.load(path)
    canvas = np.random.default_rng(0).standard_normal((1, 3, 192, 256), np.float32)
    ranges = calibrate(source, find_trunk(source), [canvas], 1)
    converted, _ = convert_model(source, "int8", Calibration(ranges, [canvas], 1), lambda model: 1.0, 1.0, engine="trt")
    onnx.save(converted, path)
    return path


def build(
    model: Path, capabilities: tuple[str, ...], folder: Path, builder: str = "deploy.builders.rtx"
) -> dict[str, Any]:
    """The record of one plan for several GPUs, built as for a user: in a process that may crash where this must not."""
    request = {"model": str(model), "plan": str(folder / "model.plan"), "compute_capabilities": capabilities,
               "level": 3, "allow_tf32": True}  # fmt: skip
    record = ask_child(f"{builder}:answer_build", request, lambda message: None)
    assert record["engine_bytes"] == (folder / "model.plan").stat().st_size > 0
    return record


def variants() -> Iterator[tuple[str, str, str, str]]:
    """Detector, NMS, RoIAlign, precision; a detector of one stage has no RoIAlign."""
    for detector in DETECTORS:
        for nms in NMS:
            for roi_align in ROI_ALIGN if detector == "faster_rcnn" else ("none",):
                yield from ((detector, nms, roi_align, precision) for precision in PRECISIONS)


def read_table() -> dict[tuple[str, str, str], str | None]:
    """Of each detector, NMS and RoIAlign: None if it is built, NVIDIA's words if it is refused."""
    found: dict[tuple[str, str, str], str | None] = {}
    lines = README.read_text().partition("| detector | NMS | RoIAlign | verdict |")[2].splitlines()[2:]
    for line in lines[: lines.index("")]:
        title, variants, roi_align, verdict = line.strip("| ").split(" | ")
        detector = next(name for name, value in DETECTORS.items() if value == title)
        words = None if verdict == "built" else verdict.partition("`")[2].partition("`")[0]
        assert words is None or (verdict.startswith("refused: ") and words)
        found.update(((detector, nms, roi_align), words) for nms in variants.split(", "))
    return found


def test_the_table_has_every_variant() -> None:
    assert set(read_table()) == {(detector, nms, roi_align) for detector, nms, roi_align, _ in variants()}


@pytest.mark.rtx
@pytest.mark.parametrize(("detector", "nms", "roi_align", "precision"), variants())
def test_every_variant_is_built_or_refused_as_the_table_says(
    library: Any, export: Callable[..., Path], tmp_path: Path, detector: str, nms: str, roi_align: str, precision: str
) -> None:
    model = export(detector, nms, roi_align, precision)
    refusal = read_table()[detector, nms, roi_align]
    assert fits_release(check_model(model, RTX.version)) == (refusal is None), "said before anything is trained"
    rewritten = rewrite_products(onnx.load(model))[1]
    together = (AMPERE_TO_BLACKWELL, (TURING,)) if rewritten else ((TURING, *AMPERE_TO_BLACKWELL),)
    for capabilities in together:
        if refusal is not None:
            with pytest.raises(DeployError) as caught:
                build(model, capabilities, tmp_path)
            assert refusal in str(caught.value)
            continue
        record = build(model, capabilities, tmp_path)
        assert record["precision"] == precision and record["labels"] == []
        weighted = record["weighted_layers_by_precision"]
        assert set(weighted) <= {precision, *(("fp16",) if precision == "int8" else ()), "fp32"}
        if precision == "fp32":
            assert set(weighted) == {"fp32"}
        else:
            assert weighted[precision] > 0


@pytest.mark.rtx
@pytest.mark.slow
@pytest.mark.parametrize(("base", "detector"), [("r50", "retinanet"), ("x101", "faster_rcnn")])
def test_a_whole_network_of_the_papers_is_built(library: Any, tmp_path: Path, base: str, detector: str) -> None:
    from deploy.export import export_onnx
    from optimizer.arch.families import base_arch
    from optimizer.detectors import build_detector

    arch = base_arch(base, (320, 256), detector)
    model = tmp_path / "model.onnx"
    export_onnx(build_detector(arch, 80, seed=0), arch.input_size, model, nms="matrix", roi_align="grid")
    assert build(model, AMPERE_TO_BLACKWELL, tmp_path)["engine_bytes"] > model.stat().st_size / 2


@pytest.mark.slow
def test_no_release_refuses_a_whole_centernet_in_int8(centernet_int8: Path, deploy: Command) -> None:
    """Its transposed convolutions are of integers too, which ONNX Runtime has none of."""
    model = onnx.load(centernet_int8)
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    upsampling = [node for node in model.graph.node if node.op_type == "ConvTranspose"]
    assert [makers[name] for node in upsampling for name in node.input[:2]] == ["DequantizeLinear"] * 6
    for release in (*VERSIONS, RTX.version):
        findings = [finding for finding in check_model(model, release) if finding.severity != "note"]
        assert fits_release(findings) and {finding.node for finding in findings} <= {""}, release
    code, out, err = deploy("check", centernet_int8, "--trust")
    verdicts = {line.split()[0]: line.split()[-1] for line in out.splitlines() if line.strip().startswith(VERSIONS)}
    assert (code, err) == (0, "") and verdicts == dict.fromkeys(VERSIONS, "yes")


@pytest.mark.rtx
@pytest.mark.slow
@pytest.mark.parametrize("capabilities", [(TURING,), AMPERE_TO_BLACKWELL])
def test_a_whole_centernet_is_built_in_int8(
    library: Any, centernet_int8: Path, tmp_path: Path, capabilities: tuple[str, ...]
) -> None:
    record = build(centernet_int8, capabilities, tmp_path)
    assert (record["precision"], record["labels"]) == ("int8", [])
    assert record["weighted_layers_by_precision"] == {"int8": 20 + 3 + 3, "fp16": 3}  # body, neck, and each head's two


@pytest.mark.rtx
@pytest.mark.parametrize(
    ("head", "shuffle"), [("faster_rcnn", "split"), ("faster_rcnn conv4fc1", "halves"), ("retinanet", "halves")]
)
def test_every_block_of_a_shufflenet_is_built(library: Any, tmp_path: Path, head: str, shuffle: str) -> None:
    from deploy.export import export_onnx
    from optimizer.detectors import build_detector

    arch = narrow_path((130, 98), head, shuffle)
    model = tmp_path / "model.onnx"
    export_onnx(build_detector(arch, 4, seed=0), arch.input_size, model, nms="matrix", roi_align="grid")
    assert build(model, AMPERE_TO_BLACKWELL, tmp_path)["labels"] == []


@pytest.mark.rtx
def test_turing_refuses_what_is_rewritten_for_it(
    library: Any, export: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = export("retinanet", "matrix", "none", "fp32")
    assert build(model, (TURING,), tmp_path)["rewritten_products"] > 0
    monkeypatch.setenv("PYTHONPATH", str(PARTS))
    with pytest.raises(BuildError, match="FP32 GEMM is not supported"):
        build(model, (TURING,), tmp_path, "unchanged_turing")


@pytest.mark.rtx
def test_plans_are_built_ahead_of_time_and_a_machine_without_a_gpu_says_what_is_missing(
    library: Any, deploy: Command, export: Callable[..., Path], tmp_path: Path
) -> None:
    model = export("retinanet", "raw", "none", "fp32")
    options = ("--target", "rtx", "--out", tmp_path / "plans", "--trust")
    code, out, err = deploy("build", model, *options, "--for", "sm86,sm120")
    assert (code, err) == (0, "")
    assert "fp32 by tensorrt-rtx" in out and "for sm86" in out and "for sm120" in out
    manifests = [json.loads(path.read_text()) for path in sorted((tmp_path / "plans").glob("*/plan.json"))]
    assert {item["key"]["platform"]["compute_capability"] for item in manifests} == {"8.6", "12.0"}
    assert {item["key"]["platform"]["library"] for item in manifests} == {"tensorrt-rtx"}
    code, out, err = deploy("build", model, *options, "--for", "sm90")
    assert (code, out) == (2, "") and "builds no plan for sm90; it does for sm75, sm80, sm86, sm89, sm120" in err
    code, out, err = deploy("build", model, *options, "--for", "ampere")
    assert (code, out) == (2, "") and "named by its compute capability, as sm86, not 'ampere'" in err
    code, out, err = deploy("measure", model, "--target", "rtx", "--trust")
    if code:
        assert (code, out) == (2, "") and "target 'rtx' cannot be measured on" in err and err.count("\n") == 1


@pytest.mark.rtx
def test_a_check_has_it_built_and_says_what_was_refused(
    library: Any, deploy: Command, export: Callable[..., Path]
) -> None:
    model = export("retinanet", "op", "none", "fp32")
    code, out, err = deploy("check", model, "--build", "--for", "sm86", "--trust")
    assert code == 1 and out.startswith("sm86   refused: ") and "has no runners that implement it" in out
    assert err == f"deploy: {model}: TensorRT for RTX builds nothing for sm86\n"
    code, out, err = deploy(
        "check", export("retinanet", "raw", "none", "fp16"), "--build", "--for", "sm89", "--trust", "--json"
    )
    (verdict,) = json.loads(out)["builds"]
    assert (code, err) == (0, "") and verdict["gpu"] == "sm89" and verdict["record"]["precision"] == "fp16"


def test_without_the_library_it_is_one_line_that_says_what_to_install(
    deploy: Command, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in LIBRARY.modules:
        monkeypatch.setitem(sys.modules, name, None)
    code, out, err = deploy("build", tiny_bundle.folder, "--target", "rtx", "--for", "sm86")
    assert (code, out) == (1, "") and err.startswith("deploy: TensorRT for RTX is not installed")
    assert "pip install tensorrt-rtx-cu13-bindings" in err and err.count("\n") == 1


def test_plans_ahead_of_time_are_those_of_one_engine(
    deploy: Command, tiny_bundle: Bundle, pretend_tensorrt: Callable[..., Any]
) -> None:
    pretend_tensorrt()
    code, out, err = deploy("build", tiny_bundle.folder, "--engine", "trt", "--for", "sm86")
    assert (code, out) == (2, "") and "TensorRT builds for the GPU that it is on, not for sm86" in err


def test_products_are_rewritten_into_what_turing_takes(make_model: Callable[..., onnx.ModelProto]) -> None:
    from deploy.builders.calibration import load_session

    float32 = TensorProto.FLOAT
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gemm", ["x", "weights", "bias"], ["h"], "linear", transB=1),
        helper.make_node("MatMul", ["h", "plain"], ["g"], "last"),
        helper.make_node("Unsqueeze", ["g", "first"], ["row"], "row"),
        helper.make_node("MatMul", ["row", "other"], ["y"], "both"),
    ]
    constants = {
        "weights": rng.standard_normal((5, 7), np.float32), "bias": rng.standard_normal(5, np.float32),
        "plain": rng.standard_normal((5, 3), np.float32), "first": np.array([0]),
    }  # fmt: skip
    inputs = {"x": (float32, [4, 7]), "other": (float32, [1, 3, 6])}
    model = make_model(nodes, inputs, {"y": (float32, [1, 4, 6])}, constants)
    model.ir_version = 8
    rewritten, count = rewrite_products(model)
    assert count == 3 and not {"Gemm", "MatMul"} & {node.op_type for node in rewritten.graph.node}
    onnx.checker.check_model(rewritten, full_check=True)
    feeds = {name: rng.standard_normal(shape, np.float32) for name, (_, shape) in inputs.items()}
    one, other = (load_session(item, 1).run(None, feeds)[0] for item in (model, rewritten))
    assert np.allclose(one, other, atol=1e-5)


def test_quantised_weights_stay_quantised(make_model: Callable[..., onnx.ModelProto]) -> None:
    from deploy.builders.calibration import load_session

    float32 = TensorProto.FLOAT
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("DequantizeLinear", ["weights", "scales", "zeros"], ["w"], "weights_dq", axis=0),
        helper.make_node("Gemm", ["x", "w", "bias"], ["y"], "linear", transB=1),
    ]
    constants = {
        "weights": rng.integers(-127, 128, (5, 7)).astype(np.int8), "scales": rng.random(5, np.float32),
        "zeros": np.zeros(5, np.int8), "bias": rng.standard_normal(5, np.float32),
    }  # fmt: skip
    model = make_model(nodes, {"x": (float32, [4, 7])}, {"y": (float32, [4, 5])}, constants)
    model.ir_version = 8
    rewritten, count = rewrite_products(model)
    assert count == 1 and not {"Gemm", "MatMul"} & {node.op_type for node in rewritten.graph.node}
    feeds = {"x": rng.standard_normal((4, 7), np.float32)}
    one, other = (load_session(item, 1).run(None, feeds)[0] for item in (model, rewritten))
    assert np.allclose(one, other, rtol=1e-4)


def test_a_product_that_cannot_be_rewritten_is_named(make_model: Callable[..., onnx.ModelProto]) -> None:
    float32 = TensorProto.FLOAT
    nodes = [helper.make_node("Gemm", ["x", "weights"], ["y"], "scaled", alpha=2.0)]
    model = make_model(
        nodes, {"x": (float32, [4, 7])}, {"y": (float32, [4, 5])}, {"weights": np.zeros((7, 5), np.float32)}
    )
    with pytest.raises(InputError, match="Gemm scaled scales or transposes"):
        rewrite_products(model)
