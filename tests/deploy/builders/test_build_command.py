"""`deploy build`: what it prints, where it stops, and that it works out of detect.pyz."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy import (
    Bundle,
    BundleManifest,
    Detector,
    LatencyRecord,
    ModelSource,
    Preprocess,
    get_target,
    prepare_model,
    write_bundle,
)

Pretend = Callable[..., Any]
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle of a model that answers with one box."""
    values = {
        "boxes": np.array([[1, 2, 3, 4]], np.float32),
        "scores": np.array([0.9], np.float32),
        "labels": np.array([0]),
        "count": np.array([1]),
    }
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])
    outputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in values.items()
    ]
    nodes = [helper.make_node("Identity", [f"{name}_value"], [name]) for name in values]
    constants = [numpy_helper.from_array(value, f"{name}_value") for name, value in values.items()]
    made = helper.make_model(
        helper.make_graph(nodes, "one", [images], outputs, constants), opset_imports=[helper.make_opsetid("", 17)]
    )
    made.ir_version = 8
    onnx.save(made, tmp_path / "one.onnx")
    manifest = BundleManifest("one", "0123456789ab", {}, ("cat",), Preprocess(8, 8))
    return write_bundle(tmp_path / "bundle", tmp_path / "one.onnx", manifest)


def test_a_bundle_is_built_and_its_record_printed(
    pretend_tensorrt: Pretend, deploy: Command, bundle: Bundle, tmp_path: Path
) -> None:
    pretend_tensorrt()
    code, out, err = deploy("build", bundle.folder, "--out", tmp_path / "out")
    (plan,) = (tmp_path / "out").glob("*/model.plan")
    assert (code, err) == (0, "")
    assert out.startswith(f"{plan}: fp32 by tensorrt 10.3.0, level 3, Orin") and "CUDA graph" in out
    assert "layers: 2 fp32, 2 int64" in out


def test_the_record_is_printed_as_json_and_the_plan_found_again(
    pretend_tensorrt: Pretend, deploy: Command, bundle: Bundle
) -> None:
    pretend_tensorrt(messages=["Skipping tactic 4 due to insufficient memory on requested size of 66048"])
    first, second = (deploy("build", bundle.folder, "--level", "final", "--json") for _ in range(2))
    record = json.loads(first[1])
    assert record == json.loads(second[1]) and record["level"] == 5 and record["degraded"]
    assert record["notes"] == ["CUDA graph", "degraded: 1 tactics were left out for lack of memory"]


def test_a_target_says_which_engine_is_built(
    pretend_tensorrt: Pretend, deploy: Command, bundle: Bundle, tmp_path: Path
) -> None:
    pretend_tensorrt()
    target = tmp_path / "board.toml"
    target.write_text('name = "board"\nengine = "trt"\nnms = "matrix"\n')
    code, out, _ = deploy("build", bundle.folder, "--target", target)
    assert code == 0 and "fp32 by tensorrt" in out
    record = get_target(str(target)).measure({"model": bundle}, protocol="quick")["model"]
    assert isinstance(record, LatencyRecord) and record.device.runtime.startswith("tensorrt 10.3.0, level 3, Orin")
    assert "CUDA graph" in record.flags and record.gpu_ms is not None


def test_a_detector_detects_by_tensorrt_what_it_detects_by_onnx_runtime(
    pretend_tensorrt: Pretend, bundle: Bundle
) -> None:
    pretend_tensorrt("8.6.1")  # whose labels and count are int32
    image = np.zeros((16, 16, 3), np.uint8)
    source = ModelSource.of(bundle, prepare_model(bundle.model, "trt"))
    with Detector(source, engine="trt") as by_tensorrt, Detector(bundle) as by_onnx_runtime:
        found, wanted = by_tensorrt(image), by_onnx_runtime(image)
    assert found.boxes_xyxy.tolist() == wanted.boxes_xyxy.tolist() == [[2, 4, 6, 8]]
    assert found.labels.tolist() == wanted.labels.tolist() == [0] and found.labels.dtype == wanted.labels.dtype


def test_an_engine_without_plans_has_nothing_to_build(deploy: Command, bundle: Bundle) -> None:
    for arguments in (("--target", "cpu"), ("--engine", "ort")):
        code, out, err = deploy("build", bundle.folder, *arguments)
        assert (code, out) == (2, "") and "'ort' executes the ONNX file itself" in err and err.count("\n") == 1


def test_a_bare_model_is_built_only_on_trust(pretend_tensorrt: Pretend, deploy: Command, bundle: Bundle) -> None:
    pretend_tensorrt()
    code, _, err = deploy("build", bundle.model)
    assert code == 2 and "--trust" in err and err.count("\n") == 1
    assert deploy("build", bundle.model, "--trust")[0] == 0


def test_without_tensorrt_it_is_one_line_that_says_what_to_install(
    deploy: Command, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    code, out, err = deploy("build", bundle.folder)
    assert (code, out) == (1, "") and err.startswith("deploy: TensorRT is not installed") and err.count("\n") == 1


def test_the_archive_of_a_bundle_builds_too(pretend_tensorrt: Pretend, bundle: Bundle, tmp_path: Path) -> None:
    pretend_tensorrt("8.6.1")
    command = [sys.executable, "detect.pyz", "build", ".", "--json"]
    result = subprocess.run(command, cwd=bundle.folder, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["tensorrt"] == "8.6.1"
