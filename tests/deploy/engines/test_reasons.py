"""Why a model is refused is said whole, with what to do about it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from deploy.engines.ort import OrtEngine, _shorten
from deploy.errors import InputError

SIGNATURE = (
    "/onnxruntime_src/onnxruntime/core/graph/model.cc:256 onnxruntime::Model::Model(onnx::ModelProto&&, const "
    "PathString&, const std::function<int(float)>*, const ModelOptions&) const [with T = int] "
)


def write_model(path: Path, ir: int = 8, opset: int = 17) -> Path:
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    other = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [info], [other])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ir": 99}, r"Unsupported model IR version: 99, max supported IR version: \d+ \(a newer onnxruntime reads it"),
        ({"opset": 99}, r"Opset 99 .*\(a newer onnxruntime may read it"),
    ],
)
def test_a_newer_file_is_said_to_be_newer(tmp_path: Path, changes: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        OrtEngine(write_model(tmp_path / "m.onnx", **changes), 1)
    assert ".cc:" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_pointer_of_git_lfs_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(InputError, match="git lfs pull"):
        OrtEngine(tmp_path / "m.onnx", 1)


def test_a_file_cut_short_is_said_to_be_so(tmp_path: Path) -> None:
    content = write_model(tmp_path / "m.onnx").read_bytes()
    (tmp_path / "m.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cut short"):
        OrtEngine(tmp_path / "m.onnx", 1)


def test_a_reason_is_whole_and_without_its_place_in_the_source() -> None:
    reason = "Cannot do this: " + "because " * 100 + "of that"
    assert _shorten(RuntimeError(SIGNATURE + reason)) == reason
    assert _shorten(RuntimeError("")) == "RuntimeError"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04archive/data.pkl", "a PyTorch file or an archive"),
        (b"ftrt\0\0\0\0", "a TensorRT plan"),
        (b"\x1c\0\0\0TFL3\0", "a TensorFlow Lite model"),
        (b"\x1f\x8b\x08", "a compressed file"),
        (b"<!DOCTYPE html>", "XML or a web page"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(InputError, match=f"m.onnx is {what}, not an ONNX model: export the model as ONNX"):
        OrtEngine(tmp_path / "m.onnx", 1)
