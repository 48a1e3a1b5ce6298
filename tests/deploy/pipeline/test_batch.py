"""Models of several images at once: each image gets its own objects, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy import Detections, Detector, ModelSource, ModelStatement, Preprocess, adopt_model
from deploy.engines import TensorSpec
from deploy.errors import InputError
from deploy.pipeline.batch import find_layout
from deploy.pipeline.decode import HEADS

WIDTH, HEIGHT = 64, 32
CELLS = 42  # of a YOLOX on this canvas
CLASSES = 2


def save(path: Path, nodes: list[onnx.NodeProto], values: dict[str, np.ndarray], images: int, outputs: dict) -> Path:
    infos = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()]
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    taken = helper.make_tensor_value_info("images", TensorProto.FLOAT, [images, 3, HEIGHT, WIDTH])
    graph = helper.make_graph(nodes, "batch", [taken], infos, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def write_detections(path: Path, images: int) -> Path:
    """Three rows an image; scores are shares of its mean level, and a bright image has two objects, a dark one one."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Mul", ["column", "shares"], ["scores"]),
        helper.make_node("Unsqueeze", ["column", "last"], ["cube"]),
        helper.make_node("Mul", ["cube", "corners"], ["boxes"]),
        helper.make_node("Greater", ["mean", "bright"], ["many"]),
        helper.make_node("Cast", ["many"], ["more"], to=TensorProto.INT64),
        helper.make_node("Add", ["more", "one"], ["count"]),
        helper.make_node("Add", ["zeros", "classes"], ["labels"]),
    ]
    values = {
        "last": np.array([-1]),
        "shares": np.array([[0.9, 0.5, 7]], np.float32) / 255,
        "corners": np.array([[[0, 0, 1, 1], [1, 1, 9, 5], [9, 9, -9, -9]]], np.float32) / 9,
        "bright": np.array(100, np.float32),
        "one": np.array(1),
        "zeros": np.zeros((images, 1), np.int64),
        "classes": np.array([[1, 0, 99]]),
    }
    outputs = {
        "boxes": (TensorProto.FLOAT, [images, 3, 4]),
        "scores": (TensorProto.FLOAT, [images, 3]),
        "labels": (TensorProto.INT64, [images, 3]),
        "count": (TensorProto.INT64, [images]),
    }
    return save(path, nodes, values, images, outputs)


def write_candidates(path: Path, images: int) -> Path:
    """Two boxes apart for each image; scores are shares of its mean level, and a dark image's second is too low."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Mul", ["column", "shares"], ["scores"]),
        helper.make_node("Unsqueeze", ["column", "last"], ["cube"]),
        helper.make_node("Mul", ["cube", "corners"], ["boxes"]),
        helper.make_node("Add", ["zeros", "classes"], ["labels"]),
    ]
    values = {
        "last": np.array([-1]),
        "shares": np.array([[0.9, 0.3]], np.float32) / 255,
        "corners": np.array([[[0, 0, 1, 1], [2, 2, 9, 5]]], np.float32) / 9,
        "zeros": np.zeros((images, 1), np.int64),
        "classes": np.array([[1, 0]]),
    }
    outputs = {
        "boxes": (TensorProto.FLOAT, [images, 2, 4]),
        "scores": (TensorProto.FLOAT, [images, 2]),
        "labels": (TensorProto.INT64, [images, 2]),
    }
    return save(path, nodes, values, images, outputs)


def write_yolox(path: Path, images: int) -> Path:
    """Cells of fixed sizes; the probability of a class is a share of the image's mean level."""
    rng = np.random.default_rng(0)
    rows = rng.uniform(0, 1, (1, CELLS, 5 + CLASSES)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["mean", "last"], ["level"]),
        helper.make_node("Mul", ["level", "rows"], ["output"]),
    ]
    values = {"last": np.array([-1]), "rows": rows / 255}
    return save(path, nodes, values, images, {"output": (TensorProto.FLOAT, [images, CELLS, 5 + CLASSES])})


def write_scaled(path: Path, images: int, outputs: dict[str, np.ndarray]) -> Path:
    """Outputs that are shares of the mean level of each image, of whole numbers as they are."""
    nodes = [helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0)]
    values: dict[str, np.ndarray] = {"zero": np.array(0, np.float32)}
    infos = {}
    for name, value in outputs.items():
        values[f"{name}_axes"] = np.arange(1, value.ndim)
        values[f"{name}_value"] = value if value.dtype == np.int64 else (value / 255).astype(np.float32)
        nodes.append(helper.make_node("Unsqueeze", ["mean", f"{name}_axes"], [f"{name}_level"]))
        level = f"{name}_level"
        if value.dtype == np.int64:
            nodes.append(helper.make_node("Mul", [level, "zero"], [f"{name}_zero"]))
            nodes.append(helper.make_node("Cast", [f"{name}_zero"], [f"{name}_nothing"], to=TensorProto.INT64))
            nodes.append(helper.make_node("Add", [f"{name}_nothing", f"{name}_value"], [name]))
        else:
            nodes.append(helper.make_node("Mul", [level, f"{name}_value"], [name]))
        kind = TensorProto.INT64 if value.dtype == np.int64 else TensorProto.FLOAT
        infos[name] = (kind, [images, *value.shape[1:]])
    return save(path, nodes, values, images, infos)


def write_yolov8(path: Path, images: int) -> Path:
    return write_scaled(path, images, {"output0": np.random.default_rng(0).uniform(0, 1, (1, 4 + CLASSES, CELLS))})


def write_yolov5(path: Path, images: int) -> Path:
    return write_scaled(path, images, {"output0": np.random.default_rng(0).uniform(0, 1, (1, 3 * CELLS, 5 + CLASSES))})


def write_end2end(path: Path, images: int) -> Path:
    rows = np.array([[[0, 0, 9, 9, 0.9, 0], [9, 9, 20, 20, 0.4, 0]]])
    return write_scaled(path, images, {"output0": rows})


def write_detr(path: Path, images: int) -> Path:
    boxes = np.array([[[0.5, 0.5, 0.2, 0.2], [0.2, 0.2, 0.1, 0.1]]])
    return write_scaled(path, images, {"pred_logits": np.array([[[2.0, -3], [-4, 1]]]), "pred_boxes": boxes})


def write_ranked(path: Path, images: int) -> Path:
    corners = np.array([[[0, 0, 9, 9], [9, 9, 20, 20]]]) * 1.0
    labels = np.array([[1, 0]])
    return write_scaled(path, images, {"labels": labels, "boxes": corners, "scores": np.array([[0.9, 0.4]])})


def write_fastestdet(path: Path, images: int) -> Path:
    cells = np.random.default_rng(0).uniform(0, 1, (1, 5 + CLASSES, HEIGHT // 16, WIDTH // 16))
    return write_scaled(path, images, {"output": cells})


WRITERS: dict[str, Callable[[Path, int], Path]] = {
    "detections": write_detections,
    "candidates": write_candidates,
    "yolox": write_yolox,
    "yolov5": write_yolov5,
    "yolov8": write_yolov8,
    "end2end": write_end2end,
    "detr": write_detr,
    "ranked": write_ranked,
    "fastestdet": write_fastestdet,
}


@pytest.fixture(params=sorted(WRITERS))
def open_model(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[int], Detector]:
    """Opens the model of a head for a number of images at once."""

    def open_one(images: int) -> Detector:
        model = WRITERS[request.param](tmp_path / f"{images}.onnx", images)
        return Detector(ModelSource(model, Preprocess(WIDTH, HEIGHT), request.param), 1)

    return open_one


def pictures(count: int) -> list[np.ndarray]:
    """Of different levels and sizes."""
    return [np.full((HEIGHT, WIDTH - number, 3), 20 + 30 * number, np.uint8) for number in range(count)]


def assert_equal(found: Detections, expected: Detections) -> None:
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)
    np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, rtol=1e-5)


def test_every_head_is_here() -> None:
    assert set(WRITERS) == set(HEADS)


@pytest.mark.parametrize("images", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 7])
def test_each_image_finds_what_it_finds_alone(open_model: Callable[[int], Detector], images: int, count: int) -> None:
    given = pictures(count)
    with open_model(1) as alone, open_model(images) as together:
        found = together.detect_batch(given)
        assert together.images == images and len(found) == count
        for picture, one in zip(given, found):
            assert len(one) > 0
            assert_equal(one, alone(picture))
        assert len({one.scores[0].item() for one in found}) == count, "no image has another one's objects"


def test_one_image_may_be_given_to_a_model_of_several(open_model: Callable[[int], Detector]) -> None:
    bright = pictures(6)[5]
    with open_model(1) as alone, open_model(3) as together:
        found, timings = together.detect_timed(bright)
        assert_equal(found, alone(bright))
        assert timings.pre_ms > 0 and timings.infer_ms > 0


def test_counts_are_each_images_own(tmp_path: Path) -> None:
    model = write_detections(tmp_path / "m.onnx", 4)
    with Detector(ModelSource(model, Preprocess(WIDTH, HEIGHT), "detections")) as detector:
        levels = [200, 20, 20, 200, 200]
        found = detector.detect_batch([np.full((HEIGHT, WIDTH, 3), level, np.uint8) for level in levels])
    assert [len(one) for one in found] == [2, 1, 1, 2, 2], "and the padding row is never among them"


def test_a_model_of_several_images_can_be_adopted(tmp_path: Path) -> None:
    bundle = adopt_model(
        write_yolox(tmp_path / "m.onnx", 2), tmp_path / "b", ModelStatement(("cat", "dog"), "yolox"), trust=True
    )
    with Detector(bundle) as detector:
        assert detector.images == 2 and detector.class_count == 2 and len(detector.detect_batch(pictures(3))) == 3


def test_outputs_that_do_not_lead_with_the_images_are_refused() -> None:
    outputs = [TensorSpec("boxes", (9, 4), "float32"), TensorSpec("scores", (9,), "float32")]
    outputs += [TensorSpec("labels", (9,), "int64"), TensorSpec("count", (1,), "int64")]
    assert find_layout(HEADS["detections"], outputs, 1, (WIDTH, HEIGHT)).images == 1
    with pytest.raises(InputError, match=r"3 images at once .* lead with 3.*'boxes' \[9, 4\]"):
        find_layout(HEADS["detections"], outputs, 3, (WIDTH, HEIGHT))


def test_another_heads_outputs_are_refused_in_a_batch_too(tmp_path: Path) -> None:
    model = write_yolox(tmp_path / "m.onnx", 2)
    with pytest.raises(InputError, match=r"m\.onnx: of one image of 2: the model has no output boxes"):
        Detector(ModelSource(model, Preprocess(WIDTH, HEIGHT), "detections"))
