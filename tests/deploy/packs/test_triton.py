"""A Triton model repository: its configuration read back, and its client against a server that is played."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy import Bundle, BundleManifest, open_detector, write_bundle
from deploy.packs import write_pack

TOKEN = re.compile(r'#[^\n]*|"(?:[^"\\]|\\.)*"|[\w.-]+|[{}\[\]:,]')
SERVER = """
import sys, numpy, onnxruntime
from pathlib import Path

class InferInput:
    def __init__(self, name, shape, datatype):
        assert type(shape) is list
        self.wanted, self.name = (tuple(shape), datatype), name

    def set_data_from_numpy(self, array):
        assert (array.shape, {"float32": "FP32"}[array.dtype.name]) == self.wanted
        self.array = array

class Answer(dict):
    as_numpy = dict.__getitem__

class InferenceServerClient:
    def __init__(self, url):
        assert url == "localhost:8000"

    def _open(self, name):
        return onnxruntime.InferenceSession(str(Path("model_repository", name, "1", "model.onnx")))

    def get_model_metadata(self, name):
        types = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}
        session = self._open(name)
        ends = {"inputs": session.get_inputs(), "outputs": session.get_outputs()}
        return {end: [{"name": one.name, "datatype": types[one.type], "shape": one.shape} for one in found]
                for end, found in ends.items()}

    def infer(self, name, inputs):
        session = self._open(name)
        names = [one.name for one in session.get_outputs()]
        return Answer(zip(names, session.run(names, {one.name: one.array for one in inputs})))

    def close(self):
        pass
"""
UTILS = """
import numpy
triton_to_np_dtype = {"FP32": numpy.float32, "INT64": numpy.int64}.__getitem__
np_to_triton_dtype = lambda dtype: {"float32": "FP32", "int64": "INT64"}[numpy.dtype(dtype).name]
"""


def parse_pbtxt(text: str) -> dict[str, list[Any]]:
    """Protobuf's text format, as far as configurations have it: every field as the list of its values."""
    tokens = iter([token for token in TOKEN.findall(text) if token[0] not in "#,"])
    return parse_message(tokens)


def parse_message(tokens: Iterator[str]) -> dict[str, list[Any]]:
    message: dict[str, list[Any]] = {}
    for name in tokens:
        if name == "}":
            break
        assert re.fullmatch(r"[a-z_]+", name), name
        token = next(tokens)
        values = message.setdefault(name, [])
        if token == "{":
            values.append(parse_message(tokens))
            continue
        assert token == ":"
        token = next(tokens)
        values.extend(map(parse_value, iter(lambda: next(tokens), "]")) if token == "[" else [parse_value(token)])
    return message


def parse_value(token: str) -> Any:
    if token.startswith('"'):
        return token[1:-1].encode().decode("unicode_escape").encode("latin-1").decode()
    return int(token) if re.fullmatch(r"-?\d+", token) else token


@pytest.fixture
def packed(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    write_pack(tiny_bundle, "triton", tmp_path / "served")
    return tmp_path / "served"


def test_the_configuration_says_what_the_model_takes_and_answers(packed: Path) -> None:
    config = parse_pbtxt((packed / "model_repository" / "tiny" / "config.pbtxt").read_text())
    assert config == {
        "name": ["tiny"],
        "backend": ["onnxruntime"],
        "max_batch_size": [0],
        "input": [{"name": ["images"], "data_type": ["TYPE_FP32"], "dims": [1, 3, 48, 64]}],
        "output": [
            {"name": ["boxes"], "data_type": ["TYPE_FP32"], "dims": [4, 4]},
            {"name": ["scores"], "data_type": ["TYPE_FP32"], "dims": [4]},
            {"name": ["labels"], "data_type": ["TYPE_INT64"], "dims": [4]},
            {"name": ["count"], "data_type": ["TYPE_INT64"], "dims": [1]},
        ],
        "instance_group": [{"count": [1], "kind": ["KIND_AUTO"]}],
    }


def test_the_configuration_is_a_message_of_triton(packed: Path) -> None:
    messages = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="tritonclient[grpc] is not installed")
    text_format = pytest.importorskip("google.protobuf.text_format")
    text = (packed / "model_repository" / "tiny" / "config.pbtxt").read_text()
    config = text_format.Parse(text, messages.ModelConfig())
    assert list(config.input[0].dims) == [1, 3, 48, 64] and [one.name for one in config.output][-1] == "count"
    assert config.instance_group[0].kind == messages.ModelInstanceGroup.KIND_AUTO


def test_a_name_becomes_one_of_a_folder(tiny_model: Path, manifest: BundleManifest, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", tiny_model, replace(manifest, name='r18/é "1"'))
    write_pack(bundle, "triton", tmp_path / "served")
    (model,) = (tmp_path / "served" / "model_repository").iterdir()
    assert parse_pbtxt((model / "config.pbtxt").read_text())["name"] == [model.name] == ["r18____1_"]


def test_the_client_finds_what_the_bundle_finds(
    packed: Path, tiny_bundle: Bundle, write_image: Callable[..., Path], tmp_path: Path
) -> None:
    image = write_image()
    package = tmp_path / "played" / "tritonclient"
    (package / "http").mkdir(parents=True)
    (package / "utils").mkdir()
    (package / "__init__.py").touch()
    (package / "http" / "__init__.py").write_text(SERVER)
    (package / "utils" / "__init__.py").write_text(UTILS)
    environment = {**os.environ, "PYTHONPATH": str(package.parent)}
    ended = subprocess.run(
        [sys.executable, "client.py", "localhost:8000", str(image)],
        cwd=packed, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    with open_detector(tiny_bundle.folder, 1) as detector:
        expected = detector(image).to_json(tiny_bundle.class_names)
    assert json.loads(ended.stdout) == {"source": str(image), "objects": expected} and len(expected) == 2
