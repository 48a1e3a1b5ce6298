"""`deploy convert`: a bundle in another precision, or one line that says why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from deploy import Bundle, BundleManifest, open_bundle, write_bundle

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def layered_bundle(tmp_path: Path, tiny_model: Path, manifest: BundleManifest) -> Bundle:
    """The tiny bundle, its constant boxes behind two convolutions."""
    model = onnx.load(tiny_model)
    rng = np.random.default_rng(0)
    for name, shape in (("w0", (4, 3, 3, 3)), ("w1", (2, 4, 1, 1))):
        model.graph.initializer.append(numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    layers = [
        helper.make_node("Conv", ["images", "w0"], ["c0"], "conv0"),
        helper.make_node("Relu", ["c0"], ["r0"], "relu0"),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], "conv1"),
    ]
    nodes = [*layers, *model.graph.node]
    nodes[3].input[0] = "c1"
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    path = tmp_path / "layered.onnx"
    onnx.save(model, path)
    return write_bundle(tmp_path / "layered", path, manifest)


@pytest.fixture
def data(tmp_path: Path, write_image: Callable[..., Path]) -> Path:
    """Two images a split, each with the two objects that the tiny model finds."""
    for split in ("train", "val"):
        images = [write_image(f"data/{split}/{index}.png") for index in range(2)]
        content = {
            "images": [{"id": i, "file_name": path.name, "width": 128, "height": 96} for i, path in enumerate(images)],
            "annotations": [
                {"id": 2 * i + c, "image_id": i, "category_id": c + 1, "bbox": box, "area": box[2] * box[3]}
                for i in range(2)
                for c, box in enumerate(([0, 0, 128, 96], [16, 16, 48, 32]))
            ],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        }
        (tmp_path / "data" / "annotations").mkdir(exist_ok=True)
        path = tmp_path / "data" / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(content))
    return tmp_path / "data"


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_bundle_is_written_with_the_ap_of_that_artefact(
    deploy: Command, layered_bundle: Bundle, data: Path, precision: str
) -> None:
    code, out, err = deploy("convert", layered_bundle.folder, "--precision", precision, "--data", data, "--json")
    assert code == 0, err
    told = json.loads(out)
    written = open_bundle(told["bundle"])
    assert written.folder.name == f"layered-{precision}" and written.manifest.precision == precision
    assert written.manifest.metrics["latency"] is None
    assert "calibrating on 2 images" in err
    code, out, _ = deploy("evaluate", written.folder, "--data", data, "--json")
    assert json.loads(out)["ap"] == pytest.approx(written.manifest.metrics["ap"]) == told["ap"] > 0.9


def test_what_is_converted_already_is_refused(
    deploy: Command, tmp_path: Path, tiny_model: Path, manifest: BundleManifest, data: Path
) -> None:
    bundle = write_bundle(tmp_path / "done", tiny_model, replace(manifest, precision="int8"))
    code, _, err = deploy("convert", bundle.folder, "--precision", "fp16", "--data", data)
    assert code == 2 and "is in int8 already" in err


def test_a_model_without_layers_is_refused(deploy: Command, tiny_bundle: Bundle, data: Path) -> None:
    code, _, err = deploy("convert", tiny_bundle.folder, "--precision", "int8", "--data", data)
    assert code == 2 and "holds no layer that could be int8" in err


def test_missing_data_and_its_own_folder_are_refused(
    deploy: Command, layered_bundle: Bundle, data: Path, tmp_path: Path
) -> None:
    code, _, err = deploy("convert", layered_bundle.folder, "--precision", "int8", "--data", tmp_path / "none")
    assert code == 2 and "there is no data set folder" in err
    own = layered_bundle.folder
    code, _, err = deploy("convert", own, "--precision", "int8", "--data", data, "--out", own)
    assert code == 2 and "choose another folder" in err


def test_classes_that_the_bundle_lacks_are_refused(
    deploy: Command, tmp_path: Path, layered_bundle: Bundle, manifest: BundleManifest, data: Path
) -> None:
    bundle = write_bundle(tmp_path / "cows", layered_bundle.model, replace(manifest, class_names=("cow", "dog")))
    code, _, err = deploy("convert", bundle.folder, "--precision", "int8", "--data", data)
    assert code == 2 and "classes that the bundle does not detect: cat" in err
