"""What every pack of a bundle is, whoever is to run it."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy import Bundle, BundleManifest, Preprocess, open_engine, write_bundle
from deploy.errors import DeployError, InputError
from deploy.packs import PACKS, write_pack

WIDTH, HEIGHT = 64, 48


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path, ("person", "traffic light"))


def make_bundle(folder: Path, class_names: tuple[str, ...]) -> Bundle:
    values = {
        "boxes": np.array([[8, 8, 32, 24]], np.float32),
        "scores": np.array([0.9], np.float32),
        "labels": np.array([1], np.int64),
        "count": np.array([1], np.int64),
    }
    nodes = [helper.make_node("Identity", [f"{name}_value"], [name]) for name in values]
    ends = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in values.items()
    ]
    constants = [numpy_helper.from_array(value, f"{name}_value") for name, value in values.items()]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])
    graph = helper.make_graph(nodes, "one", [image], ends, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, folder / "one.onnx")
    manifest = BundleManifest("one box", "0123456789ab", {}, class_names, Preprocess.imagenet(WIDTH, HEIGHT))
    return write_bundle(folder / "bundle", folder / "one.onnx", manifest)


def list_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("consumer", PACKS)
def test_the_folder_explains_itself_and_holds_a_model_and_the_class_names(
    consumer: str, bundle: Bundle, tmp_path: Path
) -> None:
    folder = tmp_path / "out" / "packed"
    packed = write_pack(bundle, consumer, folder)
    explained = (folder / "README.txt").read_text()
    words = " ".join(explained.split())
    assert packed.start in explained and "never loaded it" in words and all(note in words for note in packed.notes)
    (labels,) = folder.rglob("labels.txt")
    assert labels.read_text() == "person\ntraffic light\n"
    (model,) = folder.rglob("*.onnx")
    with open_engine(model, 1) as engine:
        assert engine.inputs[0].shape == (1, 3, HEIGHT, WIDTH)


@pytest.mark.parametrize("consumer", PACKS)
def test_equal_bundles_give_equal_files(consumer: str, bundle: Bundle, tmp_path: Path) -> None:
    write_pack(bundle, consumer, tmp_path / "first")
    write_pack(bundle, consumer, tmp_path / "second")
    assert list_files(tmp_path / "first") == list_files(tmp_path / "second")


@pytest.mark.parametrize("consumer", PACKS)
def test_a_folder_with_something_in_it_is_left_alone(consumer: str, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "mine").write_text("mine")
    with pytest.raises(InputError, match="left alone"):
        write_pack(bundle, consumer, tmp_path / "packed")
    assert list_files(tmp_path / "packed") == {"mine": b"mine"}


@pytest.mark.parametrize("consumer", PACKS)
@pytest.mark.parametrize("name", ["two\nlines", ""])
def test_a_class_name_that_is_no_line_is_refused_and_nothing_is_left(consumer: str, name: str, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, ("person", name))
    with pytest.raises(InputError, match="class name"):
        write_pack(bundle, consumer, tmp_path / "packed")
    assert not [path for path in tmp_path.iterdir() if "packed" in path.name]


@pytest.mark.parametrize("consumer", PACKS)
def test_a_full_disk_is_said_and_leaves_nothing(
    consumer: str, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(DeployError, match="free some space"):
        write_pack(bundle, consumer, tmp_path / "packed")
    assert not [path for path in tmp_path.iterdir() if "packed" in path.name]


def test_a_consumer_that_is_not_known_is_answered_with_those_that_are(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=", ".join(PACKS)):
        write_pack(bundle, "kubernetes", tmp_path / "packed")
