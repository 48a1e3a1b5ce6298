"""A tiny detector as an ONNX file and as a bundle: two objects in every image, and rubbish in the padding rows."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from deploy import Bundle, BundleManifest, Preprocess, write_bundle
from deploy.cli.parser import main

WIDTH, HEIGHT = 64, 48
NVML = "libnvidia-ml.so.1"
BOXES = np.array([[8, 8, 32, 24], [0, 0, 64, 48], [9e9, 9e9, -9e9, 1], [7, 7, 7, 7]], np.float32)
SCORES = np.array([0.9, 0.4, 0.99, 0.98], np.float32)
LABELS = np.array([1, 0, 77, 78], np.int64)
COUNT = np.array([2], np.int64)


def write_model(path: Path, outputs: dict[str, np.ndarray]) -> Path:
    """An ONNX file that takes an image and answers with constants (floats are added to 0 times the image's mean)."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    constants = [numpy_helper.from_array(np.array(0, np.float32), "zero")]
    infos = []
    for name, value in outputs.items():
        constants.append(numpy_helper.from_array(value, f"{name}_value"))
        if value.dtype == np.float32:
            nodes.append(helper.make_node("Add", [f"{name}_value", "nothing"], [name]))
        else:
            nodes.append(helper.make_node("Identity", [f"{name}_value"], [name]))
        infos.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape))
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])
    graph = helper.make_graph(nodes, "tiny", [images], infos, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """A model with head "detections" on a canvas of 64x48."""
    return write_model(tmp_path / "tiny.onnx", {"boxes": BOXES, "scores": SCORES, "labels": LABELS, "count": COUNT})


@pytest.fixture
def manifest() -> BundleManifest:
    return BundleManifest(
        name="tiny",
        arch_id="0123456789ab",
        arch={"stages": [1, 2]},
        class_names=("cat", "dog"),
        preprocess=Preprocess(WIDTH, HEIGHT),
        metrics={"ap": 0.5},
    )


@pytest.fixture
def tiny_bundle(tmp_path: Path, tiny_model: Path, manifest: BundleManifest) -> Bundle:
    return write_bundle(tmp_path / "bundle", tiny_model, manifest)


@pytest.fixture
def write_image(tmp_path: Path) -> Callable[..., Path]:
    """Writes an image file of a size (width, height) and says where."""

    def write(name: str = "image.png", size: tuple[int, int] = (128, 96)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture(scope="session")
def built_nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NVML played by a C library with its signatures, so that nvidia-ml-py calls it as it would on a GPU."""
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler (cc or gcc)")
    path = tmp_path_factory.mktemp("nvml") / NVML
    source = Path(__file__).parent / "sensors" / "fake_nvml.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(path), str(source)], check=True)
    return path


@pytest.fixture
def fake_nvml(built_nvml: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Found by this process and, through the loader's path, by its children; a GPU of 5 W that nothing slows down."""
    monkeypatch.setattr("pynvml.nvmlLib", ctypes.CDLL(str(built_nvml)))  # as if it had been found
    monkeypatch.setattr("pynvml._nvmlGetFunctionPointer_cache", {})
    monkeypatch.setenv("LD_LIBRARY_PATH", str(built_nvml.parent))
    monkeypatch.setenv("FAKE_WATTS", "5")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return built_nvml


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def deploy(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command of `deploy`; gives exit code, stdout, stderr."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return stopped.value.code, out, err

    return run
