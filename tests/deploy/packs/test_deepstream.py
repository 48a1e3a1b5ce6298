"""An nvinfer configuration: read back, and followed step by step as NVIDIA documents it, against the bundle."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy import Bundle, BundleManifest, Detections, Preprocess, Selection, open_detector, write_bundle
from deploy.builders.compatibility import VERSIONS, check_model
from deploy.errors import InputError
from deploy.packs import write_pack
from deploy.pipeline.nms import select_best

WIDTH, HEIGHT = 64, 48
BOXES = np.array([[8, 8, 32, 24], [9, 8, 32, 24], [1, 2, 60.5, 40.25]], np.float32)  # the first two are one object
LABELS = np.array([1, 1, 0], np.int64)
DIFFERENT = Preprocess(WIDTH, HEIGHT, "bgr", (10.0, 120.0, 250.0), (50.0, 100.0, 200.0), (0, 0, 0))
ALIKE = Preprocess(WIDTH, HEIGHT, "rgb", (100.0, 110.0, 120.0), (80.0,) * 3)


def make_bundle(folder: Path, head: str, preprocess: Preprocess, precision: str = "fp32") -> Bundle:
    """Scores are the sigmoids of the channels' means, so they tell order, offsets and scales apart."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("Reshape", ["means", "three"], ["flat"]),
        helper.make_node("Sigmoid", ["flat"], ["scores_k"]),
    ]
    constants = {"three": np.array([3]), "boxes_k": BOXES, "labels_k": LABELS, "count_k": np.array([2])}
    ends: dict[str, tuple[int, tuple[int, ...]]] = {
        "boxes": (TensorProto.FLOAT, (3, 4)), "scores": (TensorProto.FLOAT, (3,)), "labels": (TensorProto.INT64, (3,)),
    }  # fmt: skip
    if head == "detections":
        ends["count"] = (TensorProto.INT64, (1,))
    if head == "ranked":
        ends = {name: (kind, (1, *shape)) for name, (kind, shape) in ends.items()}
    if head == "end2end":
        ends = {"objects": (TensorProto.FLOAT, (1, 3, 6))}
        constants |= {
            "column": np.array([3, 1]),
            "labels_f": LABELS.astype(np.float32)[:, None],
            "whole": np.array([1, 3, 6]),
        }
        nodes += [
            helper.make_node("Reshape", ["scores_k", "column"], ["scores_c"]),
            helper.make_node("Concat", ["boxes_k", "scores_c", "labels_f"], ["rows"], axis=1),
            helper.make_node("Reshape", ["rows", "whole"], ["objects"]),
        ]
    for name, (_, shape) in ends.items():
        if name != "objects":
            constants[f"{name}_shape"] = np.array(shape)
            nodes.append(helper.make_node("Reshape", [f"{name}_k", f"{name}_shape"], [name]))
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])
    infos = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in ends.items()]
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "channels", [image], infos, held), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / "channels.onnx")
    selection = Selection(0.001, 0.6, 7) if head == "candidates" else None
    manifest = BundleManifest(
        "channels", "0123456789ab", {}, ("cat", "dog"), preprocess, head, precision, selection=selection
    )
    return write_bundle(folder / "bundle", folder / "channels.onnx", manifest)


def pack(bundle: Bundle, folder: Path) -> tuple[Mapping[str, str], Mapping[str, str], tuple[str, ...]]:
    notes = write_pack(bundle, "deepstream", folder).notes
    read = configparser.ConfigParser(delimiters="=", interpolation=None)
    read.read_string((folder / "config_infer_primary.txt").read_text())
    assert read.sections() == ["property", "class-attrs-all"]
    return read["property"], read["class-attrs-all"], notes


def follow(folder: Path, said: Mapping[str, str], thresholds: Mapping[str, str], frame: np.ndarray) -> Detections:
    """What nvinfer and its parser for SSD make of an RGB frame of the canvas's size."""
    planes = frame.transpose(2, 0, 1).astype(np.float32)
    if said["model-color-format"] == "1":
        planes = planes[::-1]
    offsets = np.array([float(value) for value in said["offsets"].split(";")], np.float32)
    fed = np.float32(said["net-scale-factor"]) * (planes - offsets[:, None, None])
    session = onnxruntime.InferenceSession(str(folder / said["onnx-file"]))
    names = [one.name for one in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, {session.get_inputs()[0].name: fed[None]})))
    assert all(value.dtype == np.float32 and value.shape[0] == 1 for value in outputs.values())
    scores, classes, boxes = (outputs[f"detection_{name}"][0] for name in ("scores", "classes", "boxes"))
    count = int(outputs["num_detections"][0, 0]) if "num_detections" in outputs else len(classes)
    rows = [row for row in range(count) if scores[row] >= float(thresholds["pre-cluster-threshold"])]
    corners = boxes[rows][:, [1, 0, 3, 2]] * np.array([WIDTH, HEIGHT] * 2, np.float32)
    corners = np.clip(corners, 0, [WIDTH - 1, HEIGHT - 1] * 2).astype(np.float32)
    kept = np.argsort(-scores[rows], kind="stable")
    if said["cluster-mode"] == "2":
        overlap, most = float(thresholds["nms-iou-threshold"]), int(thresholds["topk"])
        kept = select_best(corners, scores[rows], classes[rows], overlap, most)
    return Detections(corners[kept], scores[rows][kept], classes[rows][kept].astype(np.int64))


@pytest.mark.parametrize("preprocess", [DIFFERENT, ALIKE], ids=["different-std", "one-std"])
@pytest.mark.parametrize("head", ["detections", "candidates", "ranked", "end2end"])
def test_nvinfer_finds_what_the_bundle_finds(head: str, preprocess: Preprocess, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, head, preprocess)
    said, thresholds, _ = pack(bundle, tmp_path / "camera")
    frame = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    frame[:, :, 0] //= 2
    found = follow(tmp_path / "camera", said, thresholds, frame)
    with open_detector(bundle.folder, 1) as detector:
        expected = detector(frame).above(float(thresholds["pre-cluster-threshold"]))
    order, wanted = (
        np.argsort(-one.scores, kind="stable") for one in (found, expected)
    )  # a graph's own order may differ
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.boxes_xyxy[order], expected.boxes_xyxy[wanted], atol=1e-4)
    np.testing.assert_allclose(found.scores[order], expected.scores[wanted], atol=1e-5)
    np.testing.assert_array_equal(found.labels[order], expected.labels[wanted])


def test_the_configuration_says_all_that_nvinfer_has_to_know(tmp_path: Path) -> None:
    said, thresholds, notes = pack(make_bundle(tmp_path, "candidates", DIFFERENT), tmp_path / "camera")
    assert (said["num-detected-classes"], said["batch-size"], said["network-type"]) == ("2", "1", "0")
    assert (said["maintain-aspect-ratio"], said["symmetric-padding"], said["network-mode"]) == ("1", "0", "0")
    assert (said["net-scale-factor"], said["offsets"], said["model-color-format"]) == ("1.0", "10.0;120.0;250.0", "1")
    assert (said["cluster-mode"], thresholds["nms-iou-threshold"], thresholds["topk"]) == ("2", "0.6", "7")
    assert said["parse-bbox-func-name"] == "NvDsInferParseCustomTfSSD" and said["custom-lib-path"].startswith(
        "/opt/nvidia"
    )
    assert (tmp_path / "camera" / said["labelfile-path"]).read_text() == "cat\ndog\n"
    assert "black" not in " ".join(notes) and "first node of model.onnx" in " ".join(notes)


def test_what_nvinfer_does_otherwise_is_said(tmp_path: Path) -> None:
    said, _, notes = pack(make_bundle(tmp_path, "detections", replace(ALIKE, antialias=True)), tmp_path / "camera")
    assert float(said["net-scale-factor"]) == 1 / 80 and "(114, 114, 114)" in notes[0] and "weighing" in notes[1]


@pytest.mark.parametrize(("precision", "mode"), [("fp16", "2"), ("int8", "1"), ("as adopted", "0")])
def test_the_mode_is_that_of_the_precision(precision: str, mode: str, tmp_path: Path) -> None:
    said, _, notes = pack(make_bundle(tmp_path, "detections", ALIKE, precision), tmp_path / "camera")
    assert said["network-mode"] == mode
    if precision == "int8":  # nvinfer would build FP16 without a word: it is given a plan or nothing
        assert "onnx-file" not in said and said["model-engine-file"] == "model.plan"
    assert ("deploy build" in " ".join(notes)) == (precision != "as adopted")


def test_the_ends_are_no_trouble_for_tensorrt(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, "detections", DIFFERENT)
    write_pack(bundle, "deepstream", tmp_path / "camera")
    before, after = onnx.load(bundle.model), onnx.load(tmp_path / "camera" / "model.onnx")
    for version in VERSIONS:
        assert len(check_model(after, version)) <= len(check_model(before, version))


def test_a_head_without_a_parser_is_refused(tmp_path: Path, tiny_model: Path, manifest: BundleManifest) -> None:
    bundle = write_bundle(tmp_path / "bundle", tiny_model, replace(manifest, head="yolov8"))
    with pytest.raises(InputError, match="yolov8 needs a parser of its own"):
        write_pack(bundle, "deepstream", tmp_path / "camera")
    assert not (tmp_path / "camera").exists()


def test_a_class_name_that_nvinfer_would_cut_is_refused(
    tmp_path: Path, tiny_model: Path, manifest: BundleManifest
) -> None:
    bundle = write_bundle(tmp_path / "bundle", tiny_model, replace(manifest, class_names=("cat; dog", "cow")))
    with pytest.raises(InputError, match="cat; dog"):
        write_pack(bundle, "deepstream", tmp_path / "camera")
